"""`python -m fastgen_devcluster.node`: plays nodes whose pods are processes of this machine."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Sequence

from fastgen.errors import FastGenError
from fastgen.options import add_options, from_namespace
from fastgen_devcluster.node.config import NodeConfig, NodeSettings, parse_host_paths, parse_pairs
from fastgen_devcluster.node.process_node import ProcessNode

DESCRIPTION = """\
A small kubelet for machines without a container runtime: test equipment, not a place for work that matters.

It registers nodes and runs the pods bound to them as processes of this machine, with probes, restarts, limits and
status as a kubelet has them. What a process gets instead of what only a container has is written in
fastgen_devcluster/node/substitutions.py; what cannot be had is an event and a failed pod.
"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m fastgen_devcluster.node",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(parser, NodeConfig)
    parser.add_argument(
        "--host-path",
        action="append",
        default=[],
        metavar="PATH=FOLDER",
        help="The folder of this machine that stands for a path on the nodes; repeat it for each.",
    )
    parser.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="A variable for every container, such as HTTP_PROXY; repeat it for each.",
    )
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        settings = NodeSettings(
            config=from_namespace(NodeConfig, args),
            host_paths=parse_host_paths(args.host_path),
            environment=parse_pairs("--env", args.env),
        )
        asyncio.run(_run(settings))
    except FastGenError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


async def _run(settings: NodeSettings) -> None:
    node = ProcessNode(settings)
    running = asyncio.create_task(node.run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, running.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await running


if __name__ == "__main__":
    sys.exit(main())
