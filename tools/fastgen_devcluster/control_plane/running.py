"""One component as a process: started, watched, stopped, started again."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from fastgen.local_state import process_start_ticks
from fastgen_devcluster.control_plane.components import Component
from fastgen_devcluster.errors import DevClusterError
from fastgen_devcluster.processes import FOLDER_VARIABLE, describe_status, end_process, log_tail, start_process
from fastgen_devcluster.state import ClusterFolder, ProcessId


class RunningComponent:
    """A component and its process, as long as it has one."""

    def __init__(self, component: Component, folder: ClusterFolder) -> None:
        self.component = component
        self.log_path = folder.log(component.name)
        self._folder = folder.path
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        return self.component.name

    def start(self) -> None:
        """Start it, unless it runs. Raises DevClusterError where the program cannot be started."""
        if self.is_alive():
            return
        with self.log_path.open("a") as log:
            log.write(f"--- {time.strftime('%F %T')} {' '.join(self.component.command)}\n")
        environment = {**os.environ, **self.component.environment, FOLDER_VARIABLE: str(self._folder)}
        try:
            self._process = start_process(self.component.command, log_path=self.log_path, environment=environment)
        except OSError as error:
            raise DevClusterError(f"cannot start {self.name}: {error}") from error

    def stop(self) -> bool:
        """SIGTERM, then SIGKILL when its grace is over. False where it had to be killed."""
        process, self._process = self._process, None
        return process is None or end_process(process, grace_seconds=self.component.grace_seconds)

    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def process_id(self) -> ProcessId | None:
        """None where it is stopped or has ended."""
        if self._process is None:
            return None
        ticks = process_start_ticks(self._process.pid)
        return None if ticks is None else ProcessId(self._process.pid, ticks)

    def how_it_ended(self) -> str:
        """How it ended by itself; empty while it runs, and where it was stopped."""
        if self._process is None or self._process.poll() is None:
            return ""
        return describe_status(self._process.returncode)

    def check_alive(self) -> None:
        """Raises DevClusterError, with the end of its log, where it ended by itself."""
        ended = self.how_it_ended()
        if ended:
            raise DevClusterError(f"{self.name} {ended}; the end of its log:\n{log_tail(self.log_path)}")


def log_of(folder: ClusterFolder, name: str) -> Path:
    """The log of a component. Raises DevClusterError where there is none."""
    path = folder.log(name)
    if not path.exists():
        known = ", ".join(sorted(file.stem for file in folder.logs.glob("*.log")))
        raise DevClusterError(f"there is no log of '{name}'; there are: {known}")
    return path
