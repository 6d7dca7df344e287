"""What the commands have in common."""

from __future__ import annotations

import argparse
from typing import Protocol

from fastgen.errors import UsageError
from fastgen_devcluster.cluster import DevCluster, find
from fastgen_devcluster.state import cluster_folders

DEFAULT_NAME = "dev"


class Command(Protocol):
    """One sub-command."""

    name: str
    help: str
    description: str
    """What `--help` says on top; examples go to `epilog`."""
    epilog: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, args: argparse.Namespace) -> int:
        """Do it; the exit status. FastGenErrors become a message on stderr."""


def add_name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", metavar="NAME", help="which cluster; not needed while only one is up")


def chosen_name(name: str | None) -> str:
    """The name that was given, or that of the only cluster there is. Raises UsageError where that is unclear."""
    if name is not None:
        return name
    there = [folder.path.name for folder in cluster_folders()]
    if len(there) > 1:
        raise UsageError(f"several clusters are up ({', '.join(there)}); say which with --name")
    return there[0] if there else DEFAULT_NAME


def chosen_cluster(args: argparse.Namespace) -> DevCluster:
    """The running cluster that is meant. Raises DevClusterError where it is not up."""
    return find(chosen_name(args.name))
