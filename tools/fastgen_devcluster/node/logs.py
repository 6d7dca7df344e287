"""What containers write: one file for each run, bounded; the last words of a container that ended."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MOST_BYTES = 10 * 2**20
MESSAGE_BYTES = 4096
FALLBACK_BYTES = 2048
FALLBACK_LINES = 80


def new_log(folder: Path, restarts: int) -> Path:
    """The file for run number `restarts`; of the runs before, only the last one's stays."""
    for old in folder.glob("*.log*"):
        if old.name.split(".", 1)[0] not in (str(restarts - 1), str(restarts)):
            old.unlink()
    return folder / f"{restarts}.log"


def bound(log: Path) -> None:
    """Move what a long log has aside, over what was moved before. The process goes on appending to the same file."""
    try:
        if log.stat().st_size > MOST_BYTES:
            shutil.copyfile(log, log.with_name(f"{log.name}.1"))
            with log.open("r+b") as file:
                file.truncate()
    except FileNotFoundError:
        return


def termination_message(container: Mapping[str, Any], file: Path, log: Path, exit_code: int) -> str:
    """What the container wrote to its termination log; else the end of its log, if it failed and its policy says so."""
    message = _tail(file, MESSAGE_BYTES)
    if not message and exit_code and container.get("terminationMessagePolicy") == "FallbackToLogsOnError":
        lines = _tail(log, FALLBACK_BYTES).splitlines(keepends=True)
        message = "".join(lines[-FALLBACK_LINES:])
    return message


def _tail(path: Path, most_bytes: int) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - most_bytes))
            return file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
