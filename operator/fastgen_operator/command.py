"""`fastgen operator`: what turns FastGenDeployments into running models."""

from __future__ import annotations

import argparse

NAME = "operator"

DESCRIPTION = """\
Looks after the FastGenDeployments of a cluster: makes what each asks for, puts back what others change, scales by
what Prometheus says, and writes into `status` how it is. The chart charts/fastgen-operator runs it.

Of several operators one acts, the holder of a Lease; the others wait. The cluster is found as every client finds it:
by the pod's service account, else by KUBECONFIG. SIGTERM: hands the Lease on and ends within seconds, exit 0.
"""

EPILOG = """\
examples:
  fastgen operator --log-format text               all namespaces of the cluster that kubectl talks to
  fastgen operator --namespace team-a --namespace team-b
  fastgen operator --check                         is the definition there, and does somebody act? exit 0 or 1
"""


class Operator:
    """The command; see DESCRIPTION."""

    name = NAME
    help = "look after the FastGenDeployments of a Kubernetes cluster"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        from fastgen.options import add_options, field_docs
        from fastgen_operator.config import OperatorConfig

        parser.description = DESCRIPTION
        parser.epilog = EPILOG
        parser.add_argument(
            "--check",
            action="store_true",
            help="Act on nothing; say whether the definition is served and somebody acts. Exit 0 or 1.",
        )
        parser.add_argument(
            "--namespace", action="append", default=[], metavar="NAME", help=field_docs(OperatorConfig)["namespace"]
        )
        add_options(parser, OperatorConfig, leave_out=("namespace",))

    def run(self, args: argparse.Namespace) -> int:
        import asyncio

        from fastgen.options import from_namespace
        from fastgen_operator.config import OperatorConfig

        args.namespace = ",".join(args.namespace)
        config = from_namespace(OperatorConfig, args)
        if args.check:
            from fastgen_operator.check import check

            return asyncio.run(check(config))
        from fastgen_operator import logs
        from fastgen_operator.app import App

        logs.set_up(config.log_format, config.log_level)
        return asyncio.run(App(config).run())


command = Operator()
