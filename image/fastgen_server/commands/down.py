"""`fastgen down NAME`."""

from __future__ import annotations

import argparse

from fastgen.errors import UsageError
from fastgen.local_state import check_name, records, state_root, terminate


class DownCommand:
    """Ends deployments after they have finished what they run."""

    name = "down"
    help = "end a deployment on this machine, after its running requests have finished"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.description = self.help
        parser.epilog = "`fastgen ps` lists the names."
        parser.add_argument("names", nargs="*", metavar="NAME", help="which deployment")
        parser.add_argument("--all", action="store_true", help="every deployment of this machine")
        parser.add_argument(
            "--timeout-seconds",
            type=float,
            default=60.0,
            metavar="S",
            help="how long to wait for each (default: %(default)g)",
        )
        parser.add_argument("--state-dir", metavar="DIR", help="where `fastgen up --state-dir` was told to keep state")

    def run(self, args: argparse.Namespace) -> int:
        root = state_root(args.state_dir)
        known = [record.name for _, record in records(root)]
        if bool(args.names) == args.all:
            raise UsageError("name one deployment or more, or say --all; `fastgen ps` lists them")
        names = known if args.all else [check_name(name) for name in args.names]
        for name in names:
            if name not in known:
                raise UsageError(f"'{name}' is not running; running: {', '.join(known) or 'nothing'}")
        for name in names:
            ended = terminate(root / name, timeout_seconds=args.timeout_seconds)
            print(f"{name} has ended" if ended else f"{name} was gone already")
        return 0


command = DownCommand()
