"""`devcluster up`."""

from __future__ import annotations

import argparse
import signal
import time
from pathlib import Path

from fastgen.errors import UsageError
from fastgen_devcluster import cluster
from fastgen_devcluster.commands.base import DEFAULT_NAME
from fastgen_devcluster.errors import DevClusterError
from fastgen_devcluster.options import ClusterOptions, host_path

LOOK_SECONDS = 1.0


class Up:
    """See `description`."""

    name = "up"
    help = "start a cluster"
    description = """\
Start a Kubernetes control plane on this machine, and return when it is ready: etcd, API server, controllers,
scheduler, Prometheus, and nodes whose pods are processes of this machine. Everything listens on loopback only, and
everything is in one temporary folder that goes when the cluster ends.
"""
    epilog = """\
examples:
  devcluster up                               two nodes with 8 GPUs each (the GPUs are numbers, for the scheduler)
  devcluster up --name big --nodes 4          another one beside it
  devcluster up --foreground                  stays here; Ctrl-C ends the cluster
  devcluster up --host-path /var/lib/fastgen/models=examples/models
                                              what pods mount from that path of their node is this folder
"""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        given = ClusterOptions()
        parser.add_argument("--name", default=DEFAULT_NAME, help="what to call it (default: %(default)s)")
        parser.add_argument("--nodes", type=int, default=given.nodes, metavar="N", help="nodes (default: %(default)s)")
        parser.add_argument(
            "--gpus",
            type=int,
            default=given.gpus_per_node,
            metavar="N",
            help="nvidia.com/gpu that each node says it has (default: %(default)s)",
        )
        parser.add_argument("--foreground", action="store_true", help="stay, and end the cluster on Ctrl-C")
        parser.add_argument(
            "--kwok-nodes",
            type=int,
            default=given.kwok_nodes,
            metavar="N",
            help="nodes that are only played: pods there seem to run (default: %(default)s)",
        )
        parser.add_argument("--no-prometheus", action="store_true", help="without Prometheus")
        parser.add_argument(
            "--prometheus-config", type=Path, metavar="FILE", help="what Prometheus scrapes (default: annotated pods)"
        )
        parser.add_argument(
            "--host-path",
            type=_host_path,
            action="append",
            default=[],
            metavar="PATH=FOLDER",
            help="a path on the nodes, and the local folder that stands for it; repeat it for more",
        )

    def run(self, args: argparse.Namespace) -> int:
        options = ClusterOptions(
            name=args.name,
            nodes=args.nodes,
            gpus_per_node=args.gpus,
            kwok_nodes=args.kwok_nodes,
            prometheus=not args.no_prometheus,
            prometheus_config=args.prometheus_config,
            host_paths=dict(args.host_path),
        )
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.default_int_handler)  # whoever ends this ends what it has begun
        return _stay(options) if args.foreground else _leave(options)


def _host_path(text: str) -> tuple[str, Path]:
    try:
        return host_path(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _say(text: str) -> None:
    print(text, flush=True)


def _leave(options: ClusterOptions) -> int:
    up = cluster.start(options, _say)
    _say(_what_next(up, f"devcluster down{_name_flag(up)}"))
    return 0


def _stay(options: ClusterOptions) -> int:
    with cluster.running(options, _say) as up:
        try:
            _say(_what_next(up, "Ctrl-C"))
            while up.is_running():
                time.sleep(LOOK_SECONDS)
        except KeyboardInterrupt:
            _say("ending it: nodes first, etcd last")
            return 0
        raise DevClusterError(f"cluster '{up.name}' has ended; somebody ended it, or its supervisor was killed")


def _name_flag(up: cluster.DevCluster) -> str:
    return "" if up.name == DEFAULT_NAME else f" --name {up.name}"


def _what_next(up: cluster.DevCluster, how_to_end: str) -> str:
    name = _name_flag(up)
    lines = [
        f"cluster '{up.name}' is up: {up.server}",
        "",
        f"  export KUBECONFIG={up.kubeconfig}",
        f"  devcluster kubectl{name} get nodes      the same kubectl as the cluster, without the export",
        f"  devcluster status{name}                 what runs, and where its logs are",
    ]
    if up.prometheus_url:
        lines.append(f"  {up.prometheus_url}            Prometheus")
    lines += [
        f"  curl -x {up.proxy_url} http://SERVICE.NAMESPACE:PORT/      Services by name, as pods reach them",
        "",
        f"  {how_to_end}                           ends it and removes everything",
    ]
    return "\n".join(lines)
