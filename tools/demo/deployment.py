"""The deployment that the demonstration looks at: `fastgen up`, as anyone would type it, in the background."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastgen.contract import ports
from fastgen.errors import FastGenError
from fastgen.local_state import DeploymentRecord, read_record, state_root, terminate

NAME = "demo"
READY_SECONDS = 180.0
LOOK_SECONDS = 0.2
TAIL_LINES = 15


class DemoError(FastGenError):
    """The demonstration did not go as promised; the message says where to read more."""


class Deployment:
    """Replicas and a balancer, started from a manifest."""

    def __init__(self, manifest: Path, log: Path) -> None:
        self.folder = state_root() / NAME
        self.log = log
        self._manifest = manifest
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def command(self) -> str:
        return f"fastgen up {self._manifest} --name {NAME}"

    def start(self) -> None:
        """Start it. One that an earlier KEEP=1 left running is ended first."""
        terminate(self.folder)
        arguments = ["up", str(self._manifest), "--name", NAME, "--no-view"]
        for flag, port in (("--port", ports.BALANCER_HTTP), ("--grpc-port", ports.BALANCER_GRPC)):
            arguments += [flag, str(port if _is_free(port) else 0)]
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "fastgen_server", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us; we end it in order.
            )

    def record(self) -> DeploymentRecord | None:
        """What `fastgen up` says of itself. Raises DemoError if it has ended."""
        if self._process is not None and self._process.poll() is not None:
            raise DemoError(
                f"`{self.command}` ended with status {self._process.returncode}. The end of {self.log}:\n"
                + tail(self.log)
            )
        return read_record(self.folder)

    def wait_ready(self, timeout_seconds: float = READY_SECONDS) -> Iterator[DeploymentRecord | None]:
        """Yields the record while waiting; ends once every replica is ready. Raises DemoError."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            record = self.record()
            if record is not None and record.state == "ready":
                return
            if time.monotonic() > deadline:
                raise DemoError(f"not ready within {timeout_seconds:g} s; read {self.logs}")
            yield record
            time.sleep(LOOK_SECONDS)

    @property
    def logs(self) -> str:
        return f"{self.log} and {self.folder}/*.log"

    def pid_of(self, replica: str) -> int:
        """The process of a replica that is ready."""
        try:
            return int(json.loads((self.folder / f"{replica}.address.json").read_text())["pid"])
        except (OSError, ValueError, KeyError) as error:
            raise DemoError(f"{replica} has no address ({error}); read {self.logs}") from None

    def stop(self) -> None:
        """End it: running requests finish, then everything goes. Raises DemoError if that was not clean."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            status = self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise DemoError(f"`{self.command}` did not end within 60 s; read {self.logs}") from None
        if status != 0:
            raise DemoError(f"`{self.command}` ended with status {status}; read {self.logs}")

    @contextmanager
    def running(self, *, keep: bool) -> Iterator[None]:
        """Started now. Ended at the end unless it is to be kept, and in any case when something goes wrong."""
        try:
            self.start()
            yield
        except BaseException:
            if self._process is not None and self._process.poll() is None:
                self.stop()
            raise
        if not keep:
            self.stop()


def tail(path: Path) -> str:
    return "\n".join("  " + line for line in path.read_text(errors="replace").splitlines()[-TAIL_LINES:])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
