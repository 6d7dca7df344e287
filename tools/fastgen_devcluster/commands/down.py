"""`devcluster down`."""

from __future__ import annotations

import argparse

from fastgen.errors import UsageError
from fastgen_devcluster import cluster
from fastgen_devcluster.commands.base import chosen_name
from fastgen_devcluster.state import clear_leftovers, cluster_folders


class Down:
    """See `description`."""

    name = "down"
    help = "end a cluster and remove everything of it"
    description = """\
End a cluster: pods and nodes first, then scheduler, controllers and API server, etcd last. Its folder goes with it,
logs and data included. What a cluster whose supervisor was killed left behind goes too.
"""
    epilog = ""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--name", metavar="NAME", help="which cluster; not needed while only one is up")
        parser.add_argument("--all", action="store_true", help="every cluster of yours on this machine")

    def run(self, args: argparse.Namespace) -> int:
        if args.all and args.name is not None:
            raise UsageError("say --name or --all, not both")
        for name in clear_leftovers():
            print(f"cleared away what was left of cluster '{name}', whose supervisor was gone")
            if name == args.name:
                return 0
        names = [folder.path.name for folder in cluster_folders()] if args.all else [chosen_name(args.name)]
        for name in names:
            ended = cluster.stop(name)
            print(f"cluster '{name}' has ended" if ended else f"there is no cluster '{name}'")
        return 0
