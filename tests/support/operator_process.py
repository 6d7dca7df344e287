"""An operator as a process of this machine, with a kubeconfig, as a developer starts one."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from waiting import eventually

from fastgen_devcluster.processes import die_with

START_SECONDS = 60.0
_SAMPLE = re.compile(r"^(\w+)(\{[^}]*\})? (\S+)$", re.MULTILINE)


class OperatorProcess:
    """Started with `flags`; its log goes to `log`."""

    def __init__(self, kubeconfig: Path, log: Path, *flags: str) -> None:
        self.log = log
        words = [sys.executable, "-m", "fastgen_server", "operator", "--port", "0", "--log-format", "text", *flags]
        environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "OMP_NUM_THREADS": "1"}
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                words,
                stdout=file,
                stderr=file,
                env=environment,
                preexec_fn=die_with(os.getpid()),  # noqa: PLW1509 - a system call, no locks
            )

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def address(self) -> str:
        found = re.search(r"listening on (http://\S+)", self.text())
        return found[1] if found else ""

    def state(self) -> str:
        """What /readyz says; empty where nobody answers."""
        if not self.address:
            return ""
        try:
            with urllib.request.urlopen(f"{self.address}/readyz", timeout=5) as answer:
                return str(answer.read().decode().strip())
        except urllib.error.HTTPError as error:
            return f"not ready: {error.read().decode().strip()}"
        except OSError:
            return ""

    def wait_until(self, state: str, timeout_seconds: float = START_SECONDS) -> OperatorProcess:
        def is_so() -> bool:
            assert self.process.poll() is None, self.text()
            return self.state() == state

        eventually(is_so, timeout_seconds)
        return self

    def total(self, metric: str, **labels: str) -> float:
        """Sum of a metric's samples that have these labels."""
        with urllib.request.urlopen(f"{self.address}/metrics", timeout=5) as answer:
            found = _SAMPLE.findall(answer.read().decode())
        wanted = [f'{name}="{value}"' for name, value in labels.items()]
        return sum(
            float(value) for name, marks, value in found if name == metric and all(each in marks for each in wanted)
        )

    def stop(self, number: int = signal.SIGTERM, timeout_seconds: float = 15.0) -> tuple[int, float]:
        """Its exit status, and how many seconds it took to end."""
        started = time.monotonic()
        self.process.send_signal(number)
        return self.process.wait(timeout_seconds), time.monotonic() - started


@contextlib.contextmanager
def operator_process(kubeconfig: Path, log: Path, *flags: str) -> Iterator[OperatorProcess]:
    """One that is gone at the end."""
    found = OperatorProcess(kubeconfig, log, *flags)
    try:
        yield found
    finally:
        if found.process.poll() is None:
            found.process.kill()
        found.process.wait()
