"""A control plane whose nodes and pods are played by kwok, and the operator beside it as a process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from cluster_namespace import Json
from prometheus_client.parser import text_string_to_metric_families

from fastgen_devcluster.cluster import ClusterOptions, DevCluster, running

ROOT = Path(__file__).parents[2]
SYSTEM = "fastgen-system"
RELEASE = "fastgen-operator"
USER = f"system:serviceaccount:{SYSTEM}:{RELEASE}"
"""Whom the API server sees: the chart's ServiceAccount, with the chart's rights and no others."""
END_SECONDS = 20.0


@contextlib.contextmanager
def played_cluster(nodes: int) -> Iterator[DevCluster]:
    """No process runs in it; the chart is installed for its definition and its rights."""
    options = ClusterOptions(
        name=f"played-{os.getpid()}", nodes=0, process_node=False, prometheus=False, kwok_nodes=nodes
    )
    with running(options) as cluster:
        chart = str(ROOT / "charts" / "fastgen-operator")
        cluster.helm("install", RELEASE, chart, "--namespace", SYSTEM, "--create-namespace", "--set", "replicas=0")
        yield cluster


class OperatorProcess:
    """`fastgen operator` with the rights of the chart's ServiceAccount."""

    def __init__(self, cluster: DevCluster, folder: Path, *options: str) -> None:
        self.log = folder / "operator.log"
        self._options = options
        self._kubeconfig = _kubeconfig(cluster, folder)
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        command = [sys.executable, "-m", "fastgen_server", "operator", f"--port={self._port}", "--log-format=text"]
        command += [f"--lease-namespace={SYSTEM}", *self._options]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, "KUBECONFIG": str(self._kubeconfig)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def stop(self) -> int:
        """Its exit status after SIGTERM."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(END_SECONDS)
        finally:
            self._process.kill()
            self._process.wait()

    def is_ready(self) -> bool:
        """It holds the Lease and has read the cluster."""
        try:
            return b"leader" in self._ask("readyz")
        except OSError:
            return False

    def samples(self, name: str) -> list[tuple[dict[str, str], float]]:
        """A metric's samples, each with its labels."""
        families = text_string_to_metric_families(self._ask("metrics").decode())
        found = [sample for family in families for sample in family.samples if sample.name == name]
        return [(sample.labels, sample.value) for sample in found]

    def resident_bytes(self) -> int:
        """Memory it holds."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def cpu_seconds(self) -> float:
        """Processor time it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _ask(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/{path}", timeout=5) as answer:
            content: bytes = answer.read()
            return content


def _kubeconfig(cluster: DevCluster, folder: Path) -> Path:
    token = cluster.kubectl("create", "token", RELEASE, "--namespace", SYSTEM).strip()
    config: Json = json.loads(cluster.kubectl("config", "view", "--raw", "--output=json"))
    config["users"] = [{"name": "operator", "user": {"token": token}}]
    config["contexts"][0]["context"]["user"] = "operator"
    path = folder / "operator.kubeconfig"
    path.write_text(json.dumps(config))
    return path


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
