"""The `fastgen` command. Sub-commands are entry points in the group `fastgen.commands`.

Each package registers its own (pyproject.toml), so no package imports another for its command line, and
only the module of the command that was asked for is loaded.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import os
import sys
import textwrap
import traceback
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import IO, NoReturn, Protocol

import fastgen
from fastgen.errors import FastGenError, ModelError, UsageError

GROUP = "fastgen.commands"
EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED, EXIT_BROKEN_PIPE = 1, 2, 130, 141
"""EXIT_USAGE says that the same words will fail again: supervisors need not try (local/decisions.py)."""

INTRODUCTION = """\
FastGen serves large language models. Dynamic SplitFuse keeps every step of the engine equally full, so that
answers keep their pace while new prompts arrive; what counts is how many requests keep a latency promise.
"""

EXAMPLES = """\
  fastgen up examples/local.yaml         run a manifest on this machine: replicas, balancer, live view
  fastgen serve path/to/model            one replica: OpenAI-compatible HTTP and gRPC
  fastgen ps                             what runs on this machine;  fastgen down NAME  ends it
  fastgen bench --help                   put load on any OpenAI-compatible server
"""


class Command(Protocol):
    """One sub-command. Nothing heavy is imported before `run`."""

    name: str
    help: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add flags; may set `parser.description` and `parser.epilog` to teach more than `help` does."""

    def run(self, args: argparse.Namespace) -> int:
        """Do it; the exit status. FastGenErrors become a message on stderr."""


class Parser(argparse.ArgumentParser):
    """argparse that never guesses abbreviations, and that suggests what an unknown flag may have meant."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(
            prog=prog,
            description=description,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def parse_all(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse `words`; ends the process with status 2 and a suggestion where one is not known."""
        namespace, unknown = self.parse_known_args(words)
        if unknown:
            flags = [flag for action in self._actions for flag in action.option_strings]
            self.error("; ".join(_unknown(word, flags) for word in unknown))
        return namespace

    def error(self, message: str) -> NoReturn:
        self.exit(
            EXIT_USAGE, f"{self.prog}: {message}\n{' ' * len(self.prog)}  (`{self.prog} --help` lists what there is)\n"
        )


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    words = sys.argv[1:] if words is None else words
    try:
        status = _dispatch(words)
        sys.stdout.flush()
        return status
    except (UsageError, ModelError) as error:
        return _report(error, EXIT_USAGE)
    except FastGenError as error:
        return _report(error, EXIT_FAILED)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has left (`fastgen ps | head`). Python would complain once more while it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE


def _dispatch(words: Sequence[str]) -> int:
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    if not found:
        raise UsageError("no commands are installed; install FastGen into this environment: pip install -e .")
    if not words or words[0] in ("-h", "--help", "help"):
        if len(words) > 1 and words[0] == "help":
            return _dispatch([words[1], "--help"])
        _print_help(found, sys.stdout if words else sys.stderr)
        return 0 if words else EXIT_USAGE
    if words[0] in ("-V", "--version", "version"):
        print(f"fastgen {fastgen.__version__}")
        return 0
    name = words[0]
    if name not in found:
        near = difflib.get_close_matches(name, found, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(sorted(found))}"
        raise UsageError(f"unknown command '{name}'; {hint}")
    with _naming_missing_packages(name):
        command: Command = found[name].load()
        parser = Parser(f"fastgen {name}", command.help)
        command.add_arguments(parser)
        return command.run(parser.parse_all(words[1:]))


@contextlib.contextmanager
def _naming_missing_packages(name: str) -> Iterator[None]:
    """A package that an extra would have brought is the user's to install, not a bug to trace."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("fastgen"):
            raise
        raise UsageError(
            f"`fastgen {name}` needs the Python package '{error.name}', which is not installed here; install FastGen "
            'with the extras that have it: pip install "fastgen-serving[engine,server,bench]"'
        ) from error


def _print_help(found: Mapping[str, EntryPoint], out: IO[str]) -> None:
    print("usage: fastgen COMMAND [ARGUMENTS]   |   fastgen COMMAND --help   |   fastgen --version\n", file=out)
    print(INTRODUCTION, file=out)
    print(f"examples:\n{EXAMPLES}", file=out)
    print("commands:", file=out)
    for name in sorted(found):
        try:
            with _naming_missing_packages(name):
                line = found[name].load().help
        except UsageError as error:
            line = f"(not available: {error})"
        print(textwrap.fill(line, 116, initial_indent=f"  {name:<10}", subsequent_indent=" " * 12), file=out)


def _unknown(word: str, flags: Sequence[str]) -> str:
    if not word.startswith("-"):
        return f"'{word}' is one argument too many"
    near = difflib.get_close_matches(word.split("=")[0], flags, n=1, cutoff=0.5)
    return f"unknown option '{word}'" + (f"; did you mean '{near[0]}'?" if near else "")


def _report(error: FastGenError, status: int) -> int:
    if os.environ.get("FASTGEN_DEBUG"):
        traceback.print_exception(error)
    print(f"fastgen: {error}", file=sys.stderr)
    return status
