"""`fastgen up FILE`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from fastgen.contract import load_manifest, ports
from fastgen.contract.autoscaling import MAX_REPLICAS
from fastgen.contract.command_line import Listen
from fastgen.errors import UsageError
from fastgen.local_state import STATE_VARIABLE, check_name, state_root

DESCRIPTION = """\
Run a FastGenDeployment on this machine, without a cluster: the very manifest that `kubectl apply` takes.
Each replica is a process of its own with its share of devices, memory and CPU threads; a balancer stands in
front; what dies is started again. Ctrl-C finishes running requests, then ends everything.
"""

EPILOG = f"""\
examples:
  fastgen up examples/local.yaml
  fastgen up examples/local.yaml --replicas 4 --port 0
  fastgen up local.yaml --no-view > up.log       plain lines instead of the live view (as where there is no terminal)

then, from anywhere on this machine:
  curl http://127.0.0.1:{ports.BALANCER_HTTP}/v1/models
  python -c 'import fastgen; print(fastgen.client("llama").generate("What is a block?", max_new_tokens=40)[0])'
  fastgen ps; fastgen down llama
"""


class UpCommand:
    """See DESCRIPTION."""

    name = "up"
    help = "a manifest on this machine: replicas, a balancer in front, restarts, a live view"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.description, parser.epilog = DESCRIPTION, EPILOG
        parser.add_argument("file", type=Path, metavar="FILE", help="a FastGenDeployment in YAML")
        parser.add_argument("--replicas", type=int, metavar="N", help="run N replicas instead of spec.replicas")
        parser.add_argument("--name", help="run under this name instead of metadata.name")
        parser.add_argument(
            "--host",
            default="127.0.0.1",
            help="where the balancer listens; 0.0.0.0 lets everyone in (default: %(default)s)",
        )
        parser.add_argument(
            "--port", type=int, default=ports.BALANCER_HTTP, help="HTTP port; 0 takes a free one (default: %(default)s)"
        )
        parser.add_argument(
            "--grpc-port",
            type=int,
            default=ports.BALANCER_GRPC,
            help="gRPC port; 0 takes a free one (default: %(default)s)",
        )
        parser.add_argument("--no-view", action="store_true", help="plain lines instead of the live view")
        parser.add_argument(
            "--state-dir",
            metavar="DIR",
            help=f"where state and logs go, in a folder by name (default: ${STATE_VARIABLE} or ~/.local/state/fastgen)",
        )
        parser.add_argument("--detached", action="store_true", help=argparse.SUPPRESS)

    def run(self, args: argparse.Namespace) -> int:
        from fastgen_server.local.planning import plan_local, this_machine
        from fastgen_server.local.run import check_port_free, run_plan

        deployment = load_manifest(args.file)
        if args.name is not None:
            deployment = deployment.renamed(check_name(args.name))
        if args.replicas is not None and not 0 <= args.replicas <= MAX_REPLICAS:
            raise UsageError(f"--replicas {args.replicas}: allowed are 0 to {MAX_REPLICAS}")
        for flag, port in (("--port", args.port), ("--grpc-port", args.grpc_port)):
            if not 0 <= port <= 65535:
                raise UsageError(f"{flag} {port}: allowed are 0 to 65535")
            check_port_free(args.host, port, flag)
        folder = state_root(args.state_dir) / deployment.name
        plan = plan_local(
            deployment,
            folder=folder,
            manifest_folder=args.file.absolute().parent,
            machine=this_machine(),
            replicas=args.replicas,
            listen=Listen(args.host, args.port, args.grpc_port),
        )
        view = not args.no_view and sys.stdout.isatty()
        print(f"{deployment.name}: {deployment.spec.model.source}, replicas: {len(plan.replicas)}")
        print(f"state and logs in {folder}")
        if plan.ignored:
            print(f"only a cluster understands, ignored here: {', '.join(plan.ignored)}")
        sys.stdout.flush()
        asyncio.run(run_plan(plan, view=view, detached=args.detached))
        print(f"{deployment.name} has ended; its logs stay in {folder}")
        return 0


command = UpCommand()
