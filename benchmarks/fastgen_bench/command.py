"""`fastgen bench`: load against any OpenAI server, and what came of it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastgen_bench.config import LoadConfig

EPILOG = """examples:
  fastgen bench --url http://127.0.0.1:8080                    1, 4 and 16 clients, 64 requests each
  fastgen bench --url http://host:8000/v1 --clients 1,2,4,8 --seconds 30
  fastgen bench --rate 0.5,1,2 --requests 200                  open loop: arrivals do not wait for answers

Open loop counts from the moment a request was due, not from when it was sent: a server that
stalls cannot hide the queue it causes. Ctrl-C keeps what was measured.
"""


class BenchCommand:
    name = "bench"
    help = "measure a server under load: latency, throughput, and how many requests kept their promise"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        from fastgen.options import add_options
        from fastgen_bench.config import Workload

        parser.epilog = EPILOG
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        load = parser.add_argument_group("load")
        load.add_argument(
            "--clients", metavar="N,N", help="closed loop, one point per number of clients (default: 1,4,16)"
        )
        load.add_argument(
            "--rate", metavar="R,R", help="open loop instead: one point per rate of Poisson arrivals, in requests/s"
        )
        out = parser.add_argument_group("results")
        out.add_argument(
            "--output", metavar="FOLDER", help="for the JSON and the plots (default: bench-results/DATE-TIME)"
        )
        out.add_argument("--no-details", action="store_true", help="leave the per-request lists out of the JSON")
        out.add_argument("--no-plots", action="store_true", help="write no plots")
        out.add_argument("--title", default="", help="a line under the plots' titles")
        add_options(parser, Workload, title="requests")

    def run(self, args: argparse.Namespace) -> int:
        from fastgen_bench.session import run_session

        return run_session(sweep_of(args), args)


def sweep_of(args: argparse.Namespace) -> list[LoadConfig]:
    """The points that --clients or --rate ask for."""
    from fastgen.errors import UsageError
    from fastgen.options import from_namespace
    from fastgen_bench.config import LoadConfig

    if args.clients is not None and args.rate is not None:
        raise UsageError("--clients is a closed loop and --rate an open one; give one of them")
    if args.rate is not None:
        rates = _numbers("--rate", args.rate, float)
        return [from_namespace(LoadConfig, args, clients=1, rate=rate) for rate in rates]
    clients = _numbers("--clients", args.clients or "1,4,16", int)
    return [from_namespace(LoadConfig, args, clients=count, rate=None) for count in clients]


def _numbers(flag: str, text: str, kind: type[int] | type[float]) -> list[int] | list[float]:
    from fastgen.errors import UsageError

    try:
        return [kind(part) for part in text.split(",") if part.strip()] or [kind("")]
    except ValueError:
        raise UsageError(f"{flag} {text!r}: write numbers with commas between, such as 1,4,16") from None


command = BenchCommand()
