"""`fastgen balance`: a load balancer in front of replicas of one model."""

from __future__ import annotations

import argparse

NAME = "balance"

DESCRIPTION = """\
Puts one address in front of several replicas, for HTTP and gRPC alike, and passes bytes through.

Replicas come from one of three sources:
  --replica http=HOST:PORT,grpc=HOST:PORT   written down; once for each replica
  --replicas-file FILE                      a JSON list that is followed as it changes:
                                            [{"http": "127.0.0.1:8000", "grpc": "127.0.0.1:8001"}]
  --pods-selector LABELS [--namespace NS]   the pods of a cluster with these labels

A request goes to the replica with the least work ahead. It is tried again elsewhere only while nothing of its
answer has come. While no replica is ready requests wait, up to --hold-requests of them for --hold-seconds.
SIGTERM: not ready at once, requests in flight finish, exit 0.
"""

EPILOG = """\
examples:
  fastgen balance --replica http=10.0.0.1:8000,grpc=10.0.0.1:8001 --replica http=10.0.0.2:8000,grpc=10.0.0.2:8001
  fastgen balance --replicas-file replicas.json --port 0 --grpc-port 0 --address-file address.json
  curl localhost:8080/metrics | grep fastgen_balancer
"""


class Balance:
    """The command; see DESCRIPTION."""

    name = NAME
    help = "a load balancer in front of replicas"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        from fastgen.options import add_options
        from fastgen_server.balancer.config import BalancerConfig

        parser.description = DESCRIPTION
        parser.epilog = EPILOG
        parser.add_argument(
            "--replica",
            action="append",
            default=[],
            metavar="http=HOST:PORT,grpc=HOST:PORT",
            help="A replica's addresses; repeat it for each replica.",
        )
        parser.add_argument("--verbose", action="store_true", help="Log every retry and change of a replica.")
        add_options(parser, BalancerConfig)

    def run(self, args: argparse.Namespace) -> int:
        import asyncio
        import logging

        from fastgen.options import from_namespace
        from fastgen_server.balancer.config import BalancerConfig

        config = from_namespace(BalancerConfig, args)
        logging.basicConfig(
            level=logging.INFO if args.verbose else logging.WARNING, format="%(asctime)s %(levelname)s %(message)s"
        )
        return asyncio.run(_run(config, args.replica))


async def _run(config: object, replicas: list[str]) -> int:
    from fastgen_server.balancer.app import Balancer
    from fastgen_server.balancer.config import BalancerConfig
    from fastgen_server.balancer.discovery import make_discovery

    assert isinstance(config, BalancerConfig)
    async with Balancer(config, make_discovery(config, replicas)) as balancer:
        print(f"balancing on http://{balancer.http_address} and grpc://{balancer.grpc_address}", flush=True)
        await balancer.run_until_signal()
    return 0


command = Balance()
