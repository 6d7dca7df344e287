"""The `devcluster` command."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from fastgen.errors import FastGenError
from fastgen_devcluster import cluster
from fastgen_devcluster.options import ClusterOptions


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="devcluster")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("up", "down", "kubectl"):
        command = commands.add_parser(name)
        command.add_argument("--name", default="dev")
        if name == "up":
            command.add_argument("--nodes", type=int, default=2)
            command.add_argument("--gpus", type=int, default=8)
        if name == "kubectl":
            command.add_argument("arguments", nargs=argparse.REMAINDER)
    args = parser.parse_args(argv)
    try:
        return run(args)
    except FastGenError as error:
        print(f"devcluster: {error}", file=sys.stderr)
        return 2


def run(args: argparse.Namespace) -> int:
    if args.command == "up":
        options = ClusterOptions(name=args.name, nodes=args.nodes, gpus_per_node=args.gpus)
        up = cluster.start(options, print)
        print(f"export KUBECONFIG={up.kubeconfig}")
    elif args.command == "down":
        print("ended" if cluster.stop(args.name) else "there was none")
    else:
        found = cluster.find(args.name)
        command = found.kubectl_command(*args.arguments)
        os.execve(command[0], command, found.environment())  # noqa: S606 - no shell is meant
    return 0
