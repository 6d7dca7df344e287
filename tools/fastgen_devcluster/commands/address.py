"""`devcluster address`."""

from __future__ import annotations

import argparse
import json

from fastgen.errors import UsageError
from fastgen_devcluster.commands.base import add_name, chosen_cluster
from fastgen_devcluster.services import ready_addresses


class Address:
    """See `description`."""

    name = "address"
    help = "where a ready pod behind a Service listens"
    description = """\
Print HOST:PORT of a ready pod behind a Service, for programs that honour no HTTP proxy (gRPC, TLS). It is good as long
as that pod is.
"""
    epilog = """\
examples:
  curl http://$(devcluster address default/llama)/v1/models
  devcluster address default/llama:grpc        a port by its name, or by its number
"""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("service", metavar="NAMESPACE/SERVICE[:PORT]", help="which; the first port by default")
        add_name(parser)

    def run(self, args: argparse.Namespace) -> int:
        key, _, port = args.service.partition(":")
        namespace, slash, name = key.partition("/")
        if not slash or not namespace or not name:
            raise UsageError(f"'{args.service}' is not NAMESPACE/SERVICE[:PORT]")
        cluster = chosen_cluster(args)
        service = json.loads(cluster.kubectl("get", "service", name, "--namespace", namespace, "-o", "json"))
        pods = json.loads(cluster.kubectl("get", "pods", "--namespace", namespace, "-o", "json"))["items"]
        print(ready_addresses(service, pods, int(port) if port.isdigit() else port or None)[0])
        return 0
