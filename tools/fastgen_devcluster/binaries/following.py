"""Running a long command while its words are read, and never leaving it behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from fastgen_devcluster.processes import die_with

GRACE_SECONDS = 5.0


class Followed(NamedTuple):
    """How it ended."""

    status: int
    output: str
    """Its standard output."""
    lines: list[str]
    """The lines of its standard error."""


def follow(
    command: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    on_line: Callable[[str], object] = str,
) -> Followed:
    """Run `command` and hand each line of its standard error to `on_line`; it ends when we do, however."""
    lines = []
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        process = subprocess.Popen(
            list(command),
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # its compilers are ended with it
            preexec_fn=die_with(os.getpid()),  # noqa: PLW1509 - threads only wait in C here
        )
        try:
            assert process.stderr is not None
            for line in process.stderr:
                lines.append(line.rstrip("\n"))
                on_line(lines[-1])
            status = process.wait()
        finally:
            _end(process)
        output.seek(0)
        return Followed(status, output.read(), lines)


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is not None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)
            return
