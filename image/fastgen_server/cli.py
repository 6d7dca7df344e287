"""The `fastgen` command. Sub-commands are entry points in the group `fastgen.commands`."""

from __future__ import annotations

import argparse
from typing import Protocol


class Command(Protocol):
    """One sub-command. Nothing heavy is imported before `run`."""

    name: str
    help: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, args: argparse.Namespace) -> int: ...
