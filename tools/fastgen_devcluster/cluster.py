"""A cluster on this machine, for Python: tests and the demonstration.

with running(ClusterOptions(name="mine", nodes=2)) as cluster:
    cluster.kubectl("apply", "-f", "examples/llama.yaml")
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from fastgen.local_state import process_start_ticks
from fastgen_devcluster import binaries
from fastgen_devcluster.control_plane import control
from fastgen_devcluster.control_plane.plan import Plan
from fastgen_devcluster.errors import DevClusterError
from fastgen_devcluster.options import ClusterOptions
from fastgen_devcluster.processes import FOLDER_VARIABLE, kill_processes_of, log_tail, signal_checked, wait_for_end
from fastgen_devcluster.state import (
    ClusterFolder,
    ClusterRecord,
    ProcessId,
    claim,
    clear_if_stale,
    clear_leftovers,
    cluster_folder,
)

__all__ = ["ClusterOptions", "DevCluster", "find", "running", "start", "stop"]

STOP_SECONDS = 90.0
NEEDED_BYTES = 512 * 1024 * 1024
"""Free disk space without which a start is refused: etcd alone writes 80 MB before anything happens."""
FULL_BYTES = 64 * 1024 * 1024
"""With less than this, a start that failed probably failed for it."""
CORE_BINARIES = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "helm")

Progress = Callable[[str], None]


def _quiet(_: str) -> None: ...


class DevCluster:
    """A running cluster: where it is, and what can be done with it."""

    def __init__(
        self, folder: ClusterFolder, record: ClusterRecord, supervisor: subprocess.Popen[str] | None = None
    ) -> None:
        self.name = record.name
        self.folder = folder.path
        self.kubeconfig = folder.kubeconfig
        self.server = record.server
        self.prometheus_url = record.prometheus_url
        self.proxy_url = record.proxy_url
        self.audit_log = folder.audit_log
        self._paths = folder
        self._binaries = record.binaries
        self._supervisor = supervisor

    def stop(self) -> None:
        """End it and everything of it."""
        stop(self.name)
        if self._supervisor is not None:
            self._supervisor.wait()

    def is_running(self) -> bool:
        """Whether its supervisor lives. (A component may have died all the same: `component_process`.)"""
        record = self._paths.read_record()
        return record is not None and record.state == "running"

    def kubectl(self, *args: str, input: str | None = None, check: bool = True) -> str:
        """What kubectl printed. Raises DevClusterError with what it said on standard error, unless `check` is off."""
        return self._call(self.kubectl_command(*args), input=input, check=check)

    def kubectl_command(self, *args: str) -> list[str]:
        """The command line of such a call, to be run in `environment()`."""
        return [self._binaries["kubectl"], *args]

    def helm(self, *args: str) -> str:
        """What helm printed. Raises DevClusterError with what it said on standard error."""
        return self._call(self.helm_command(*args))

    def helm_command(self, *args: str) -> list[str]:
        """The command line of such a call, to be run in `environment()`."""
        return [self._binaries["helm"], *args]

    def environment(self) -> dict[str, str]:
        """This process's environment, with which kubectl and helm talk to this cluster and leave nothing elsewhere."""
        caches = {f"HELM_{kind}_HOME": str(self.folder / "helm" / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
        caches["KUBECACHEDIR"] = str(self.folder / "kubectl-cache")
        return {**os.environ, **caches, "KUBECONFIG": str(self.kubeconfig)}

    def pod_log(self, namespace: str, pod: str, container: str | None = None) -> Path:
        """The log of a pod's container, the only or first one by default."""
        return find_pod_log(self._paths, namespace, pod, container)

    def component_log(self, name: str) -> Path:
        return self._paths.log(name)

    def restart_component(self, name: str) -> None:
        """End it and start it again, on the same port. Returns when it is ready."""
        control.ask(self._paths, "restart", name)

    def stop_component(self, name: str) -> None:
        """End it. Returns when it has ended."""
        control.ask(self._paths, "stop", name)

    def start_component(self, name: str) -> None:
        """Start it after `stop_component`, or after it died. Returns when it is ready."""
        control.ask(self._paths, "start", name)

    def component_process(self, name: str) -> ProcessId | None:
        """The process of a component; None where it is stopped."""
        record = self._paths.read_record()
        process = record.processes.get(name) if record else None
        return process if process and process.is_alive() else None

    def _call(self, command: list[str], *, input: str | None = None, check: bool = True) -> str:
        done = subprocess.run(command, input=input, env=self.environment(), capture_output=True, text=True, check=False)
        if check and done.returncode != 0:
            shown = " ".join([Path(command[0]).name, *command[1:]])
            raise DevClusterError(f"{shown} ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout


def find_pod_log(folder: ClusterFolder, namespace: str, pod: str, container: str | None) -> Path:
    """The log of the container's last run. Raises DevClusterError where there is none."""
    runs = sorted((folder.pods / f"{namespace}_{pod}").glob("*/*.log"), key=lambda log: int(log.stem))
    latest = {log.parent.name: log for log in runs}
    if container is None and latest:
        return next(iter(latest.values()))
    if container in latest:
        return latest[container]
    there = (
        f"its containers with a log: {', '.join(latest)}" if latest else "`devcluster kubectl get pods -A` lists pods"
    )
    raise DevClusterError(
        f"there is no log of {namespace}/{pod}{f', container {container}' if container else ''}; {there}"
    )


@contextlib.contextmanager
def running(options: ClusterOptions, on_progress: Progress = _quiet) -> Iterator[DevCluster]:
    """A cluster for as long as the `with` lasts; it also goes when this process dies, however it does."""
    cluster = start(options, on_progress, tethered=True)
    try:
        yield cluster
    finally:
        cluster.stop()


def start(options: ClusterOptions, on_progress: Progress = _quiet, *, tethered: bool = False) -> DevCluster:
    """Bring a cluster up and return when it is ready. `tethered`: it ends with this process.

    Raises DevClusterError with the reason, and what failed has been cleared away then.
    """
    programs = (
        *CORE_BINARIES,
        *(["prometheus"] if options.prometheus else []),
        *(["kwok"] if options.kwok_nodes else []),
    )
    found = binaries.obtain(programs, on_progress)
    for name in clear_leftovers():
        on_progress(f"cleared away what was left of cluster '{name}'")
    folder = cluster_folder(options.name)
    _check_space(folder.path.parent)
    parent = ProcessId(os.getpid(), process_start_ticks(os.getpid()) or 0) if tethered else None
    try:
        with claim(folder) as lock:
            folder.logs.mkdir(mode=0o700)
            folder.plan.write_text(Plan(options, found, parent).to_json())
            supervisor = _launch_supervisor(folder, lock.fileno())
    except OSError as error:
        raise _start_error(folder, str(error)) from error
    _follow_start(folder, supervisor, on_progress)
    record = folder.read_record()
    if record is None or record.state == "stale":
        raise DevClusterError(f"cluster '{options.name}' ended right after its start")
    return DevCluster(folder, record, supervisor)


def find(name: str) -> DevCluster:
    """The cluster of that name. Raises DevClusterError where it is not up."""
    folder = cluster_folder(name)
    record = folder.read_record()
    if record is None or record.state == "stale":
        raise DevClusterError(f"cluster '{name}' is not up; `devcluster up --name {name}` starts it")
    return DevCluster(folder, record)


def _check_space(root: Path) -> None:
    free = shutil.disk_usage(root).free
    if free < NEEDED_BYTES:
        raise DevClusterError(
            f"{root} has {free >> 20} MiB of disk space left, a cluster needs {NEEDED_BYTES >> 20} MiB; free some, or "
            "name another folder with FASTGEN_DEVCLUSTER_ROOT"
        )


def _launch_supervisor(folder: ClusterFolder, lock: int) -> subprocess.Popen[str]:
    with folder.supervisor_log.open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "fastgen_devcluster.control_plane.supervisor", str(folder.path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, FOLDER_VARIABLE: str(folder.path)},
            start_new_session=True,
            pass_fds=[lock],
        )


def _follow_start(folder: ClusterFolder, supervisor: subprocess.Popen[str], on_progress: Progress) -> None:
    """Pass on what it says until the cluster is ready; end it when this process is interrupted meanwhile."""
    assert supervisor.stdout is not None
    error = ""
    try:
        for line in supervisor.stdout:
            message = json.loads(line)
            if "progress" in message:
                on_progress(message["progress"])
            elif message.get("ready"):
                return
            error = message.get("error", error)
        error = error or "its supervisor ended:\n" + log_tail(folder.supervisor_log)
    except BaseException:
        supervisor.terminate()
        supervisor.wait()
        raise
    finally:
        supervisor.stdout.close()
    supervisor.wait()
    raise _start_error(folder, error)


def _start_error(folder: ClusterFolder, reason: str) -> DevClusterError:
    """With what is left of the start cleared away, and the disk's part in it named."""
    free = shutil.disk_usage(folder.path.parent).free
    clear_if_stale(folder)
    full = f" ({folder.path.parent} had {free >> 20} MiB of disk space left)" if free < FULL_BYTES else ""
    return DevClusterError(f"cluster '{folder.path.name}' could not start{full}: {reason}")


def stop(name: str) -> bool:
    """End a cluster and everything of it. False where there was none."""
    folder = cluster_folder(name)
    record = folder.read_record() if folder.path.exists() else None
    if record is None or record.state == "stale":
        return clear_if_stale(folder)
    signal_checked(*record.supervisor, signal.SIGTERM)
    if not wait_for_end(*record.supervisor, STOP_SECONDS):
        signal_checked(*record.supervisor, signal.SIGKILL)
        wait_for_end(*record.supervisor, STOP_SECONDS)
    kill_processes_of(folder.path)
    clear_if_stale(folder)
    return True
