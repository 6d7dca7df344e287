"""`fastgen ps`."""

from __future__ import annotations

import argparse
import sys
import time

from fastgen.local_state import DeploymentRecord, forget, records, state_root

COLUMNS = ("NAME", "MODEL", "REPLICAS", "STATE", "HTTP", "GRPC", "PID", "AGE")


class PsCommand:
    """Lists deployments, and takes those off the books whose supervisor is gone."""

    name = "ps"
    help = "what runs on this machine: deployments of `fastgen up` and `fastgen.serve`"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.description = self.help
        parser.epilog = "`fastgen down NAME` ends one; fastgen.client(NAME) talks to it from Python."
        parser.add_argument("--state-dir", metavar="DIR", help="where `fastgen up --state-dir` was told to keep state")

    def run(self, args: argparse.Namespace) -> int:
        root = state_root(args.state_dir)
        found = list(records(root))
        if not found:
            print(f"nothing runs here (no deployments in {root}); `fastgen up FILE` starts one", file=sys.stderr)
            return 0
        print_table([COLUMNS, *(row(record, time.time()) for _, record in found)])
        for folder, record in found:
            if record.state == "stale":
                forget(folder)
                print(
                    f"'{record.name}': its supervisor (process {record.pid}) is gone without saying goodbye; taken off "
                    f"the list, its logs stay in {folder}",
                    file=sys.stderr,
                )
        return 0


def row(record: DeploymentRecord, now_unix_seconds: float) -> tuple[str, ...]:
    """A record as cells of the table."""
    if record.state == "stale":
        return (record.name, record.model, f"0/{record.replicas}", "gone", "-", "-", "-", "-")
    return (
        record.name,
        record.model,
        f"{record.replicas_ready}/{record.replicas}",
        record.state,
        record.http or "-",
        record.grpc or "-",
        str(record.pid),
        age(now_unix_seconds - record.started_unix_seconds),
    )


def age(seconds: float) -> str:
    """As kubectl says it: 42s, 5m, 3h, 2d."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)}{unit}"
    return f"{max(0, int(seconds))}s"


def print_table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(len(cells[i]) for cells in rows) for i in range(len(rows[0]))]
    for cells in rows:
        print("   ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())


command = PsCommand()
