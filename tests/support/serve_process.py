"""`fastgen serve` as users start it: a process, its address, its log."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
from waiting import eventually

START_SECONDS = 120.0


class ServeProcess(NamedTuple):
    """A server that is ready."""

    process: subprocess.Popen[bytes]
    http: str
    """As in http://127.0.0.1:8000."""
    grpc: str
    log: Path
    address_file: Path

    def samples(self) -> dict[str, float]:
        """What /metrics says: "name{labels}" to value."""
        lines = httpx.get(f"{self.http}/metrics").text.splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    def metric(self, name: str) -> float:
        """The sum of a metric's samples over its labels."""
        found = [value for key, value in self.samples().items() if key.split("{")[0] == name]
        if not found:
            raise AssertionError(f"/metrics has no {name}")
        return sum(found)


@contextmanager
def serve_process(model: Path, folder: Path, *flags: str) -> Iterator[ServeProcess]:
    """Start `fastgen serve MODEL` on free ports and wait until it is ready; killed at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    log, address_file = folder / "serve.log", folder / "address.json"
    command = [sys.executable, "-m", "fastgen_server", "serve", str(model), "--port", "0", "--grpc-port", "0"]
    command += ["--address-file", str(address_file), *flags]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
    try:
        eventually(lambda: address_file.exists() or process.poll() is not None, START_SECONDS)
        if process.poll() is not None:
            raise AssertionError(f"fastgen serve ended with {process.returncode}:\n{log.read_text()}")
        address = json.loads(address_file.read_text())
        yield ServeProcess(process, f"http://{address['http']}", address["grpc"], log, address_file)
    finally:
        process.kill()
        process.wait()
