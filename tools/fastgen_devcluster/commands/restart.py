"""`devcluster restart`."""

from __future__ import annotations

import argparse

from fastgen_devcluster.commands.base import add_name, chosen_cluster


class Restart:
    """See `description`."""

    name = "restart"
    help = "end a component and start it again, on the same port"
    description = """\
End a component of a cluster and start it again, on the same port and with the same data; or start one that died.
Returns when it is ready. `devcluster status` lists them.
"""
    epilog = """\
examples:
  devcluster restart kube-apiserver
"""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("component", metavar="COMPONENT", help="which")
        add_name(parser)

    def run(self, args: argparse.Namespace) -> int:
        chosen_cluster(args).restart_component(args.component)
        print(f"{args.component} is ready")
        return 0
