"""Starting, watching and ending the child processes of a deployment."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from fastgen_server.local import tether
from fastgen_server.local.planning import ProcessPlan

TAIL_BYTES = 16 * 1024


class Addresses(NamedTuple):
    """Where a process listens, HOST:PORT each."""

    http: str
    grpc: str


class Child:
    """One running process: its own session, its own log, and it dies with this one."""

    def __init__(self, plan: ProcessPlan, log_path: Path) -> None:
        plan.address_file.unlink(missing_ok=True)
        self.plan = plan
        self.log_path = log_path
        with log_path.open("ab") as log:
            log.write(f"--- {time.strftime('%F %T')} fastgen {' '.join(plan.arguments)}\n".encode())
            log.flush()
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", tether.__file__, str(os.getpid())),
                    *plan.program,
                    *plan.arguments,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **plan.environment},
                start_new_session=True,  # Ctrl-C in the terminal is ours to pass on, as a drain
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def status(self) -> int | None:
        """None while it runs; then its exit status, or minus the signal that ended it."""
        return self._process.poll()

    def addresses(self) -> Addresses | None:
        """What it wrote into its address file once it was ready; None before."""
        try:
            values = json.loads(self.plan.address_file.read_text())
            return Addresses(values["http"], values["grpc"]) if values["pid"] == self.pid else None
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        """End the process and whatever it started, now."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


def log_tail(path: Path, lines: int = 8) -> str:
    """The last lines of a log, indented, for an error message."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    return "\n".join(f"    {line}" for line in text.strip().splitlines()[-lines:])


def describe_status(status: int) -> str:
    """`ended with status 1`, or `was killed by SIGKILL`."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"
