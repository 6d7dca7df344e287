"""Where the clusters of this machine live, and how what a dead one left behind is cleared away.

    /tmp/fastgen-devcluster-UID/     ($FASTGEN_DEVCLUSTER_ROOT names another folder)
      dev/
        lock               held (flock) by the supervisor as long as it lives: what is running is what is locked
        cluster.json       addresses, and pid and start time of every process
        kubeconfig         for the person in front of it
        logs/              one file per component, and the API server's audit.log
        certificates/ etcd/ prometheus/ node/ ...

Everything of a cluster is in its folder, and the folder goes when the cluster ends.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal, NamedTuple

from fastgen.local_state import process_start_ticks, write_atomically
from fastgen_devcluster.errors import DevClusterError
from fastgen_devcluster.node import cgroups
from fastgen_devcluster.processes import kill_processes_of, signal_checked

ROOT_VARIABLE = "FASTGEN_DEVCLUSTER_ROOT"
PROBE_SECONDS = 0.5
"""Someone who only asks whether a lock is held holds it for an instant; whoever wants it waits this long."""
ClusterState = Literal["starting", "running", "stopping", "stale"]


class ProcessId(NamedTuple):
    """A process for certain: the kernel hands a pid out again, but not with the same start time."""

    pid: int
    started_ticks: int

    def is_alive(self) -> bool:
        return process_start_ticks(self.pid) == self.started_ticks


@dataclass(frozen=True, kw_only=True)
class ClusterRecord:
    """One cluster as its supervisor wrote it down."""

    name: str
    supervisor: ProcessId
    state: ClusterState = "starting"
    server: str = ""
    """URL of the API server."""
    prometheus_url: str = ""
    """Empty where the cluster has none."""
    proxy_url: str = ""
    """The HTTP proxy that knows Services by name."""
    binaries: Mapping[str, str] = field(default_factory=dict)
    """Program name to its path."""
    processes: Mapping[str, ProcessId | None] = field(default_factory=dict)
    """Every component, and its process; none where it is stopped."""

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"


class ClusterFolder:
    """The paths inside a cluster's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = path / "lock"
        self.record = path / "cluster.json"
        self.kubeconfig = path / "kubeconfig"
        self.control_socket = path / "control"
        self.plan = path / "plan.json"
        self.logs = path / "logs"
        self.audit_log = path / "logs" / "audit.log"
        self.supervisor_log = path / "logs" / "supervisor.log"
        self.certificates = path / "certificates"
        self.kubeconfigs = path / "kubeconfigs"
        self.node = path / "node"
        self.pods = path / "node" / "pods"

    def log(self, component: str) -> Path:
        return self.logs / f"{component}.log"

    def read_record(self) -> ClusterRecord | None:
        """The record, with state "stale" where its supervisor is gone; None where there is none."""
        try:
            values = json.loads(self.record.read_text())
            values["supervisor"] = ProcessId(*values["supervisor"])
            values["processes"] = {name: p and ProcessId(*p) for name, p in values["processes"].items()}
            record = ClusterRecord(**values)
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError) as error:
            raise DevClusterError(f"{self.record} is damaged ({error}); `devcluster down` clears it away") from None
        return record if self.is_locked() else dataclasses.replace(record, state="stale")

    def write_record(self, record: ClusterRecord) -> None:
        write_atomically(self.record, record.to_json())

    def is_locked(self) -> bool:
        """Whether a live supervisor holds the folder."""
        lock = try_lock(self.lock)
        if lock is not None:
            lock.close()
        return lock is None


def state_root() -> Path:
    """The folder of all clusters, made for its owner only. Raises DevClusterError where it is somebody else's."""
    named = os.environ.get(ROOT_VARIABLE)
    root = Path(named).absolute() if named else Path(tempfile.gettempdir()) / f"fastgen-devcluster-{os.getuid()}"
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    if root.stat().st_uid != os.getuid():
        raise DevClusterError(f"{root} belongs to another user; name another folder with {ROOT_VARIABLE}")
    return root


def cluster_folder(name: str) -> ClusterFolder:
    return ClusterFolder(state_root() / name)


def cluster_folders() -> Iterator[ClusterFolder]:
    """Every cluster's folder, running or not, in order of name."""
    for path in sorted(state_root().iterdir()):
        if path.is_dir():
            yield ClusterFolder(path)


def try_lock(path: Path) -> IO[str] | None:
    """The file, locked, as long as it stays open; None where somebody else holds it (or there is no folder)."""
    try:
        file = path.open("a")
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def claim(folder: ClusterFolder) -> IO[str]:
    """Make the folder and lock it; the lock lasts as long as the file, or a child that inherited it, keeps it open.

    What a dead cluster of this name left is cleared away first. Raises DevClusterError where one is alive.
    """
    deadline = time.monotonic() + PROBE_SECONDS
    while True:
        clear_if_stale(folder)
        folder.path.mkdir(mode=0o700, exist_ok=True)
        lock = try_lock(folder.lock)
        if lock is not None and _is_still(lock, folder.lock):
            return lock
        if lock is None and time.monotonic() > deadline:
            name = folder.path.name
            raise DevClusterError(
                f"cluster '{name}' is up already; `devcluster status --name {name}` shows it, "
                f"`devcluster down --name {name}` ends it, and --name starts another beside it"
            )
        time.sleep(0.02)


def _is_still(lock: IO[str], path: Path) -> bool:
    """Whether the file that was locked is the one others find; it may have been cleared away before the lock."""
    try:
        return os.path.samestat(os.fstat(lock.fileno()), path.stat())
    except FileNotFoundError:
        return False


def clear_leftovers() -> list[str]:
    """End what dead supervisors left behind, and remove their folders. The names of the clusters they had."""
    return [folder.path.name for folder in cluster_folders() if clear_if_stale(folder)]


def clear_if_stale(folder: ClusterFolder) -> bool:
    """Whether the folder was nobody's any more, and is gone now."""
    lock = try_lock(folder.lock)
    if lock is None:
        return False
    with lock:
        _kill_recorded(folder)
        kill_processes_of(folder.path)
        cgroups.clear_after(folder.node)
        shutil.rmtree(folder.path, ignore_errors=True)
    return True


def _kill_recorded(folder: ClusterFolder) -> None:
    try:
        record = folder.read_record()
    except DevClusterError:
        return
    for process in record.processes.values() if record else ():
        if process is not None:
            signal_checked(*process, signal.SIGKILL)
