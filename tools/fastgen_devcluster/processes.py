"""Starting and ending processes so that none is ever left behind.

Every process dies with the one that started it (the kernel sends SIGKILL, even when the parent was killed itself),
and carries the folder of its cluster in its environment, so that whoever cleans up finds it whatever its ancestry.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from fastgen.local_state import process_start_ticks

FOLDER_VARIABLE = "FASTGEN_DEVCLUSTER_FOLDER"
"""In the environment of every process of a cluster, pods included: which cluster it belongs to."""
PR_SET_PDEATHSIG = 1
TAIL_BYTES = 16 * 1024
TAIL_WIDTH = 400
"""Characters of a line that are quoted; some programs put a whole stack into one."""

_libc = ctypes.CDLL(None, use_errno=True)


def start_process(
    command: Sequence[str], *, log_path: Path, environment: Mapping[str, str], dies_with_parent: bool = True
) -> subprocess.Popen[bytes]:
    """Start `command` in a session of its own, with what it says appended to `log_path`.

    `environment` replaces the caller's. Call it from the main thread: the kernel watches the thread, not the process.
    """
    with log_path.open("ab") as log:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=dict(environment),
            start_new_session=True,  # Ctrl-C in the terminal is for us to pass on, in the right order
            preexec_fn=die_with(os.getpid()) if dies_with_parent else None,  # noqa: PLW1509 - no threads here
        )


def die_with(parent: int) -> Callable[[], None]:
    """A `preexec_fn`: the new process is killed when its parent ends, however that does."""

    def prepare() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the kernel was told to watch it
            os._exit(1)

    return prepare


def end_process(process: subprocess.Popen[bytes], *, grace_seconds: float) -> bool:
    """SIGTERM, then SIGKILL for it and its group after `grace_seconds`. Whether it went by itself."""
    process.terminate()
    try:
        process.wait(grace_seconds)
        return True
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return False


def signal_checked(pid: int, started_ticks: int, number: signal.Signals) -> bool:
    """Signal exactly the process with this pid that started then. False where it is gone.

    The handle is opened before the check, so a pid that is handed out again in between cannot be hit.
    """
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if process_start_ticks(pid) != started_ticks:
            return False
        signal.pidfd_send_signal(handle, number)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)


def wait_for_end(pid: int, started_ticks: int, timeout_seconds: float) -> bool:
    """Wait until that process has ended; False where it still runs after `timeout_seconds`."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        if process_start_ticks(pid) != started_ticks:
            return True
        return bool(select.select([handle], [], [], timeout_seconds)[0])
    finally:
        os.close(handle)


def processes_of(folder: Path) -> Iterator[tuple[int, int]]:
    """Every live process that carries `folder` in its environment: its pid, and when it started in clock ticks."""
    mark = f"{FOLDER_VARIABLE}={folder}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environment = (entry / "environ").read_bytes()
        except OSError:  # gone meanwhile, or somebody else's
            continue
        if mark in environment.split(b"\0"):
            ticks = process_start_ticks(int(entry.name))
            if ticks is not None:
                yield int(entry.name), ticks


def kill_processes_of(folder: Path, *, timeout_seconds: float = 10.0) -> int:
    """SIGKILL whatever is left of the cluster in `folder`, until nothing is. How many there were."""
    killed: set[tuple[int, int]] = set()
    deadline = time.monotonic() + timeout_seconds
    while found := list(processes_of(folder)):
        for pid, ticks in found:
            signal_checked(pid, ticks, signal.SIGKILL)
            killed.add((pid, ticks))
        if time.monotonic() > deadline:
            break
        time.sleep(0.02)
    return len(killed)


def log_tail(path: Path, lines: int = 12) -> str:
    """The last lines of a log, indented, for an error message."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    shown = text.strip().splitlines()[-lines:]
    return "\n".join("    " + (line if len(line) <= TAIL_WIDTH else f"{line[:TAIL_WIDTH]} ...") for line in shown)


def describe_status(status: int) -> str:
    """`ended with status 1`, or `was killed by SIGKILL`."""
    if status >= 0:
        return f"ended with status {status}"
    with contextlib.suppress(ValueError):
        return f"was killed by {signal.Signals(-status).name}"
    return f"was killed by signal {-status}"
