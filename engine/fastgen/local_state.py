"""Where deployments on this machine are written down, so that other scripts find, judge and end them.

    ~/.local/state/fastgen/            (FASTGEN_STATE, or --state-dir, names another folder)
      llama/
        lock                held (flock) by the supervisor as long as it lives: what is running is what is locked
        deployment.json     name, pid, addresses, state
        manifest.yaml       what was asked for
        *.log               supervisor, balancer, replicas

A process id alone proves nothing, because the kernel hands it out again. A deployment is alive while its lock
is held *and* the process with its pid started when the record says; only then is the pid ever signalled.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from fastgen.contract.labels import MAX_NAME_LENGTH
from fastgen.errors import FastGenError, UsageError

DeploymentState = Literal["starting", "ready", "degraded", "stopping", "stale"]
STATE_VARIABLE = "FASTGEN_STATE"
PROBE_SECONDS = 0.3
"""Someone who only asks whether a lock is held holds it for an instant; whoever wants it waits this long."""


@dataclass(frozen=True, kw_only=True)
class DeploymentRecord:
    """One deployment on this machine, as its supervisor wrote it down."""

    name: str
    model: str
    pid: int
    """The supervisor's."""
    started_ticks: int
    """When that process started, in clock ticks since boot: tells it from a later one with the same pid."""
    started_unix_seconds: float
    replicas: int
    replicas_ready: int = 0
    state: DeploymentState = "starting"
    http: str = ""
    """HOST:PORT of the balancer; empty until it listens."""
    grpc: str = ""
    detached: bool = False
    """Started by `fastgen.serve` rather than by `fastgen up` in a terminal."""

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"


def record_path(folder: Path) -> Path:
    return folder / "deployment.json"


def state_root(folder: str | Path | None = None) -> Path:
    """The folder of all deployments: the one given, $FASTGEN_STATE, or ~/.local/state/fastgen."""
    if folder is not None:
        return Path(folder).expanduser().absolute()
    if os.environ.get(STATE_VARIABLE):
        return Path(os.environ[STATE_VARIABLE]).expanduser().absolute()
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "fastgen"


def check_name(name: str) -> str:
    """`name` if it can be a deployment's. Raises UsageError. (It becomes a folder, so it must be harmless.)"""
    if not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name) or len(name) > MAX_NAME_LENGTH:
        raise UsageError(
            f"'{name}' cannot name a deployment; allowed are lower-case letters, digits and '-', beginning with a "
            f"letter, at most {MAX_NAME_LENGTH}"
        )
    return name


class StateLock:
    """The supervisor's claim on a deployment's folder; the kernel lets go of it when the process dies."""

    def __init__(self, folder: Path) -> None:
        """Raises UsageError where another live process holds it."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = (folder / "lock").open("a")
        deadline = time.monotonic() + PROBE_SECONDS
        while not _try_lock(self._file):
            if time.monotonic() > deadline:
                self._file.close()
                raise UsageError(
                    f"'{folder.name}' is running already (state in {folder}); `fastgen down {folder.name}` ends it, "
                    "or choose another name"
                )
            time.sleep(0.02)

    def release(self) -> None:
        self._file.close()


def is_locked(folder: Path) -> bool:
    """Whether a live supervisor holds the folder."""
    try:
        with (folder / "lock").open("a") as file:
            return not _try_lock(file)
    except FileNotFoundError:
        return False


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def read_record(folder: Path) -> DeploymentRecord | None:
    """The record in `folder`, with state "stale" where its supervisor is gone; None where there is none."""
    try:
        values = json.loads(record_path(folder).read_text())
        known = {field.name for field in dataclasses.fields(DeploymentRecord)}
        record = DeploymentRecord(**{key: value for key, value in values.items() if key in known})
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError, AttributeError):
        raise FastGenError(f"{record_path(folder)} is damaged; remove {folder} if nothing runs there") from None
    return record if is_alive(record, folder) else dataclasses.replace(record, state="stale")


def is_alive(record: DeploymentRecord, folder: Path) -> bool:
    return is_locked(folder) and process_start_ticks(record.pid) == record.started_ticks


def records(root: Path) -> Iterator[tuple[Path, DeploymentRecord]]:
    """Every deployment under `root`, in order of name."""
    for folder in sorted(root.glob("*/")):
        record = read_record(folder)
        if record is not None:
            yield folder, record


def forget(folder: Path) -> None:
    """Take a deployment that has ended off the books. Its logs stay, to be read."""
    for path in (record_path(folder), folder / "replicas.json", *folder.glob("*.address.json")):
        path.unlink(missing_ok=True)


def terminate(folder: Path, *, timeout_seconds: float = 60.0, now: Callable[[], float] = time.monotonic) -> bool:
    """Ask the supervisor of `folder` to drain and end, and wait until it has; remove what is stale.

    Returns False where nothing ran. Raises FastGenError where it does not end in time.
    """
    record = read_record(folder)
    if record is None:
        return False
    if record.state == "stale":
        forget(folder)
        return False
    with contextlib.suppress(ProcessLookupError):
        _signal_checked(record)
    deadline = now() + timeout_seconds
    while process_start_ticks(record.pid) == record.started_ticks:
        if now() > deadline:
            raise FastGenError(
                f"'{record.name}' (process {record.pid}) is still finishing its requests after {timeout_seconds:g} s; "
                f"look into {folder / 'supervisor.log'}, or end it at once: kill -9 {record.pid}"
            )
        time.sleep(0.05)
    return True


def _signal_checked(record: DeploymentRecord) -> None:
    """SIGTERM to exactly the recorded process: the pidfd is opened first, so a reused pid cannot slip in between."""
    handle = os.pidfd_open(record.pid)
    try:
        if process_start_ticks(record.pid) == record.started_ticks:
            signal.pidfd_send_signal(handle, signal.SIGTERM)
    finally:
        os.close(handle)


def process_start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since boot (proc(5), stat field 22); None where there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def write_atomically(path: Path, text: str) -> None:
    """Write through a temporary file beside `path`, so that nobody ever reads half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.replace(path)
