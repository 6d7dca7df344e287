"""The operator as a process of the test, with the rights that the chart gives its ServiceAccount and no others."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from chart_tools import RELEASE, SYSTEM
from cluster_namespace import until

from fastgen_devcluster.cluster import DevCluster

STOP_SECONDS = 15.0
USER = f"system:serviceaccount:{SYSTEM}:{RELEASE}"


def kubeconfig(cluster: DevCluster, folder: Path) -> Path:
    """Of the operator's ServiceAccount."""
    token = cluster.kubectl("create", "token", RELEASE, "--namespace", SYSTEM).strip()
    found = json.loads(cluster.kubectl("config", "view", "--raw", "--output=json"))
    found["users"] = [{"name": "operator", "user": {"token": token}}]
    context = {"cluster": found["clusters"][0]["name"], "user": "operator", "namespace": SYSTEM}
    found["contexts"], found["current-context"] = [{"name": "operator", "context": context}], "operator"
    path = folder / "operator.kubeconfig"
    path.touch(0o600)
    path.write_text(json.dumps(found), encoding="utf-8")
    return path


@contextlib.contextmanager
def running_operator(cluster: DevCluster, folder: Path, more: Sequence[str] = ()) -> Iterator[None]:
    """For as long as the `with` lasts. It acts when this yields, and has handed on its Lease when it is over."""
    command = [sys.executable, "-m", "fastgen_server", "operator", "--port=0", "--log-format=text"]
    command += [f"--lease-name={RELEASE}", f"--lease-namespace={SYSTEM}", "--scaling-interval-seconds=1", *more]
    log = folder / f"operator-{len(list(folder.glob('operator-*.log')))}.log"
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            command,
            env={**os.environ, "KUBECONFIG": str(kubeconfig(cluster, folder))},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        until(lambda: "looking after" in log.read_text(encoding="utf-8") or process.poll(), "the operator acts", 30)
        assert process.poll() is None, log.read_text(encoding="utf-8")
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        finally:
            process.kill()
            process.wait()
        print(log.read_text(encoding="utf-8"))
