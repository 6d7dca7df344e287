"""A real Prometheus that scrapes what a test tells it to, every second."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from waiting import eventually

from fastgen_devcluster import binaries

CONFIG = """\
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
- job_name: fastgen
  file_sd_configs: [{{files: ["{targets}"], refresh_interval: 1s}}]
"""


@dataclass
class RealPrometheus:
    """One process on a port of its own; it keeps what it scraped when it is stopped and started again."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def scrape(self, name: str, targets: dict[str, dict[str, str]]) -> None:
        """Scrape these addresses from now on, with these labels on all of their series; `name` can be told anew."""
        entries = [{"targets": [address], "labels": labels} for address, labels in targets.items()]
        file = self.folder / f"targets-{name}.json"
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(entries))
        partial.replace(file)

    def start(self) -> None:
        (self.folder / "prometheus.yaml").write_text(CONFIG.format(targets=self.folder / "targets-*.json"))
        with open(self.folder / "prometheus.log", "ab") as log:
            self.process = subprocess.Popen(
                [
                    str(binaries.find(["prometheus"])["prometheus"]),
                    f"--config.file={self.folder / 'prometheus.yaml'}",
                    f"--storage.tsdb.path={self.folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                ],
                stdout=log,
                stderr=log,
            )
        eventually(self._is_ready, 60)

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "prometheus.log").read_text()[-2000:]
        with (
            contextlib.suppress(urllib.error.URLError, ConnectionError),
            urllib.request.urlopen(f"{self.url}/-/ready", timeout=5) as answer,
        ):
            return bool(answer.status == 200)
        return False

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            self.process.wait(30)
            self.process = None

    def freeze(self, frozen: bool) -> None:
        """Alive, connected to, and silent."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)


@contextlib.contextmanager
def real_prometheus(folder: Path) -> Iterator[RealPrometheus]:
    """Started, and gone at the end."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = int(taken.getsockname()[1])
    made = RealPrometheus(folder, port)
    try:
        made.start()
        yield made
    finally:
        made.stop()
