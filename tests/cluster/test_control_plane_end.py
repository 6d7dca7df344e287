"""However a cluster ends, nothing of it stays: no process, no folder, no port."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from waiting import eventually

from fastgen_devcluster.cluster import ClusterOptions, DevCluster, find, running, start, stop
from fastgen_devcluster.errors import DevClusterError
from fastgen_devcluster.processes import processes_of
from fastgen_devcluster.state import ROOT_VARIABLE, ProcessId, cluster_folder, cluster_folders

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

OPTIONS = ClusterOptions(name="ending", nodes=1, prometheus=False)
COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "service-proxy", "process-node")
TETHERED = """
    import time
    from fastgen_devcluster.cluster import ClusterOptions, running
    with running(ClusterOptions(name="ending", nodes=1, prometheus=False)):
        print("up", flush=True)
        time.sleep(300)
"""


@pytest.fixture(autouse=True)
def _own_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path / "clusters"))
    yield
    stop("ending")


def assert_gone(cluster: DevCluster) -> None:
    """Its supervisor, which is the last to go, may still be on its way out."""
    eventually(lambda: not list(processes_of(cluster.folder)))
    assert not cluster.folder.exists()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", urlsplit(cluster.server).port or 0))


def test_it_stops_in_the_reverse_order_of_its_start(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    with running(ClusterOptions(name="ending", nodes=1, prometheus=False, keep_logs_in=kept)) as cluster:
        assert all(cluster.component_process(name) for name in COMPONENTS)
    assert_gone(cluster)
    ended = [line.split()[2:] for line in (kept / "supervisor.log").read_text().splitlines() if "ended" in line]
    assert ended == [[f"{name}:", "ended"] for name in reversed(COMPONENTS)]
    assert (kept / "audit.log").stat().st_size > 0


def test_a_test_that_fails_ends_its_cluster() -> None:
    with pytest.raises(ZeroDivisionError), running(OPTIONS) as cluster:
        raise ZeroDivisionError
    assert_gone(cluster)


POD = """
apiVersion: v1
kind: Pod
metadata: {name: with-children}
spec:
  containers:
  - {name: main, image: test/shell, args: [-c, sleep 300 & sleep 300], resources: {limits: {cpu: 100m}}}
"""


def test_when_its_supervisor_is_killed_all_die_and_the_next_start_clears_away() -> None:
    options = dataclasses.replace(OPTIONS, images={"test/shell": ("sh",)})
    cluster = start(options, tethered=True)
    cluster.kubectl("apply", "-f", "-", input=POD)
    cluster.kubectl("wait", "pod/with-children", "--for=condition=Ready", "--timeout=30s")
    record = cluster_folder("ending").read_record()
    assert record is not None
    os.kill(record.supervisor.pid, signal.SIGKILL)
    eventually(lambda: not any(process and process.is_alive() for process in record.processes.values()))
    assert not cluster.is_running()
    with pytest.raises(DevClusterError, match="is not up"):
        find("ending")
    said: list[str] = []
    left = list(processes_of(cluster.folder))  # what the pod's shell had started
    with running(options, said.append) as again:
        assert "cleared away what was left of cluster 'ending'" in said
        assert not any(ProcessId(*process).is_alive() for process in left)
        assert again.kubectl("get", "pods", "--all-namespaces") == ""
    assert_gone(again)
    cluster.stop()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_when_whoever_runs_it_is_killed_it_ends_by_itself(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(TETHERED)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"up\n"
        cluster = find("ending")
        parent.send_signal(number)
        parent.wait(60)
    eventually(lambda: not cluster.folder.exists(), 30)
    assert_gone(cluster)


def test_up_leaves_it_running_and_down_ends_it() -> None:
    devcluster = [sys.executable, "-m", "fastgen_devcluster"]
    up = subprocess.run(
        [*devcluster, "up", "--name", "ending", "--nodes", "1", "--no-prometheus"],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    cluster = find("ending")
    assert f"export KUBECONFIG={cluster.kubeconfig}" in up.stdout
    assert "devcluster down --name ending" in up.stdout
    nodes = subprocess.run([*devcluster, "kubectl", "get", "nodes"], capture_output=True, text=True, check=True)
    assert "node-0" in nodes.stdout
    subprocess.run([*devcluster, "down"], check=True, timeout=60)
    assert_gone(cluster)
    assert list(cluster_folders()) == []


def test_ctrl_c_ends_what_stays_in_the_foreground() -> None:
    command = [
        *(sys.executable, "-m", "fastgen_devcluster"),
        *("up", "--foreground", "--name", "ending", "--nodes", "1"),
    ]
    with subprocess.Popen([*command, "--no-prometheus"], stdout=subprocess.PIPE, text=True) as up:
        assert up.stdout is not None
        for line in up.stdout:
            if "ends it and removes everything" in line:
                break
        cluster = find("ending")
        up.send_signal(signal.SIGINT)
        assert up.wait(60) == 0
    assert_gone(cluster)
