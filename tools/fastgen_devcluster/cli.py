"""The `devcluster` command."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from fastgen.errors import FastGenError, UsageError
from fastgen_devcluster.commands import address, binaries, down, kubectl, logs, restart, status, up
from fastgen_devcluster.commands.base import Command

DESCRIPTION = """\
A real Kubernetes control plane on this machine, for development, tests and the demonstration. Its nodes are not real:
they run pods as processes of this machine. docs/devcluster.md says what follows from that.
"""
EPILOG = """\
to begin:
  devcluster up
  devcluster kubectl get nodes
  devcluster down
"""
COMMANDS: Sequence[Command] = (
    up.Up(),
    down.Down(),
    status.Status(),
    logs.Logs(),
    kubectl.Kubectl(),
    kubectl.Helm(),
    address.Address(),
    restart.Restart(),
    binaries.Binaries(),
)
EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED, EXIT_BROKEN_PIPE = 1, 2, 130, 141


def build_parser() -> argparse.ArgumentParser:
    """One parser for all commands."""
    parser = _parser(argparse.ArgumentParser, prog="devcluster", description=DESCRIPTION, epilog=EPILOG)
    choices = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        added = _parser(
            choices.add_parser, command.name, help=command.help, description=command.description, epilog=command.epilog
        )
        command.add_arguments(added)
        added.set_defaults(run=command.run)
    return parser


def _parser(make: object, *args: str, **options: str) -> argparse.ArgumentParser:
    assert callable(make)
    made = make(*args, **options, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
    assert isinstance(made, argparse.ArgumentParser)
    return made


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    words = sys.argv[1:] if words is None else words
    words, passed_on = kubectl.split(words)
    args = build_parser().parse_args(words)
    args.passed_on = passed_on
    try:
        status = args.run(args)
        sys.stdout.flush()
        return int(status)
    except FastGenError as error:
        print(f"devcluster: {error}", file=sys.stderr)
        return EXIT_USAGE if isinstance(error, UsageError) else EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has left (`devcluster logs etcd | head`). Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
