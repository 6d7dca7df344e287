"""`devcluster binaries`."""

from __future__ import annotations

import argparse

from fastgen_devcluster import binaries


class Binaries:
    """See `description`."""

    name = "binaries"
    help = "find or get every program a cluster is made of"
    description = """\
Find etcd, Kubernetes, helm, Prometheus and kwok on this machine, and get what is missing: from the official archives,
else built by the Go toolchain (about nine minutes, once). `up` does the same where something is missing.
"""
    epilog = ""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--find", action="store_true", help="only look; get nothing")

    def run(self, args: argparse.Namespace) -> int:
        found = binaries.find() if args.find else binaries.obtain_all(lambda line: print(line, flush=True))
        for name, path in found.items():
            print(f"{name:<26}{path}")
        return 0
