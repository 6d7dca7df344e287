"""The stage: a control plane of our own, the chart on it, and the certainty that nothing is left afterwards."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from demo.deployment import DemoError
from fastgen.contract import labels
from fastgen.errors import FastGenError
from fastgen_devcluster import cluster as devcluster
from fastgen_devcluster.cluster import ClusterOptions, DevCluster

CLUSTER = "demo"
MODELS_ON_NODES = "/var/lib/fastgen/models"
MODELS = Path("examples/models")
PROMETHEUS_CONFIG = Path("examples/prometheus.yaml")
CHART = Path("charts/fastgen-operator")
RELEASE = "fastgen-operator"
SYSTEM = "fastgen"
LOGS = Path("demo-output/logs")
GONE_SECONDS = 90.0
LOOK_SECONDS = 0.5
KINDS = (
    "fgd,deployments,replicasets,pods,services,endpointslices,serviceaccounts,roles,rolebindings,poddisruptionbudgets,"
    "persistentvolumeclaims,configmaps,secrets"
)
"""What a FastGenDeployment may have led to."""

INSTALL = (
    *("install", RELEASE, str(CHART), "--namespace", SYSTEM, "--create-namespace"),
    *("--set", "scalingIntervalSeconds=3", "--wait", "--timeout", "90s"),
)


def up_command(name: str) -> str:
    """What a person would type for `standing`."""
    given = f"--prometheus-config {PROMETHEUS_CONFIG} --host-path {MODELS_ON_NODES}={MODELS}"
    return f"devcluster up --name {name} {given}"


@contextmanager
def standing(name: str, *, keep: bool, on_progress: Callable[[str], None]) -> Iterator[DevCluster]:
    """A cluster, ended at the end unless it is to be kept, and in any case when something goes wrong.

    One that an earlier KEEP=1 left is ended first.
    """
    devcluster.stop(name)
    shutil.rmtree(LOGS, ignore_errors=True)
    options = ClusterOptions(
        name=name,
        prometheus_config=PROMETHEUS_CONFIG,
        host_paths={MODELS_ON_NODES: MODELS},
        keep_logs_in=LOGS,
    )
    cluster = devcluster.start(options, on_progress, tethered=not keep)
    try:
        yield cluster
    except BaseException:
        cluster.stop()
        raise
    if not keep:
        cluster.stop()
        check_ended(cluster)


def check_ended(cluster: DevCluster) -> None:
    """Raises DemoError where a process or a file of the cluster is left."""
    if left := processes_in(cluster.folder):
        raise DemoError(f"the cluster ended, but left the processes {', '.join(left)}")
    if cluster.folder.exists():
        raise DemoError(f"the cluster ended, but left its folder {cluster.folder}")


def processes_in(folder: Path) -> list[str]:
    """Processes whose command line names the folder or something in it."""
    words = re.compile(re.escape(str(folder).encode()) + rb"(/|\0|$)")
    return [path.parent.name for path in Path("/proc").glob("[0-9]*/cmdline") if words.search(_bytes_of(path))]


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # It ended while we looked.
        return b""


def children(cluster: DevCluster, namespace: str, name: str) -> list[str]:
    """Everything in the namespace that belongs to a FastGenDeployment, itself included, as kubectl names it."""
    owned = cluster.kubectl(
        "get", KINDS, "--namespace", namespace, "-o", "name", "-l", f"{labels.DEPLOYMENT}={name}"
    ).split()
    itself = cluster.kubectl("get", "fgd", name, "--namespace", namespace, "-o", "name", "--ignore-not-found").split()
    return itself + owned


def wait_until_gone(cluster: DevCluster, namespace: str, name: str) -> float:
    """Seconds until nothing of a deleted FastGenDeployment is left. Raises DemoError with what still is."""
    began = time.monotonic()
    while left := children(cluster, namespace, name):
        if time.monotonic() - began > GONE_SECONDS:
            raise DemoError(f"still there {GONE_SECONDS:.0f} s after `kubectl delete`: {', '.join(left)}")
        time.sleep(LOOK_SECONDS)
    return time.monotonic() - began


def read(cluster: DevCluster, namespace: str, name: str) -> dict[str, Any]:
    """The FastGenDeployment as the API server has it."""
    found: dict[str, Any] = json.loads(cluster.kubectl("get", "fgd", name, "--namespace", namespace, "-o", "json"))
    return found


def last_words(cluster: DevCluster, namespace: str, name: str) -> str:
    """What to read when something went wrong: the conditions, the last events, the end of the operator's log.

    Every pod's log is saved with the cluster's own: they would go with it.
    """
    _save_pod_logs(cluster)
    conditions = _try(cluster, "get", "fgd", name, "--namespace", namespace, "-o", f"jsonpath={_CONDITIONS}")
    pods = _try(cluster, "get", "pods", "--all-namespaces")
    events = _try(cluster, "get", "events", "--namespace", namespace, "--sort-by=.lastTimestamp", "-o", _EVENTS)
    # Endpoints refuse the loopback addresses of pods that are processes (docs/devcluster.md); nobody needs them here.
    events = [line for line in events if "FailedToUpdateEndpoint" not in line]
    operator = [
        line
        for log in sorted((LOGS / "pods").glob(f"{SYSTEM}_*.log"))
        for line in log.read_text(errors="replace").splitlines()
    ]
    said = {"conditions": conditions, "pods": pods, "events": events, "operator's log": operator}
    parts = [[f"--- {heading}", *(f"  {line}" for line in lines[-LAST_LINES:])] for heading, lines in said.items()]
    return "\n".join(line for part in parts for line in part)


def _save_pod_logs(cluster: DevCluster) -> None:
    (LOGS / "pods").mkdir(parents=True, exist_ok=True)
    for line in _try(cluster, "get", "pods", "--all-namespaces", "-o", f"jsonpath={_NAMES}"):
        namespace, pod = line.split()
        with contextlib.suppress(FastGenError, OSError):
            shutil.copyfile(cluster.pod_log(namespace, pod), LOGS / "pods" / f"{namespace}_{pod}.log")


def _try(cluster: DevCluster, *words: str) -> list[str]:
    """The lines kubectl printed, or those of its complaint: the cluster may be what is wrong."""
    command = cluster.kubectl_command("--request-timeout=5s", *words)
    done = subprocess.run(command, env=cluster.environment(), capture_output=True, text=True, check=False)
    return (done.stdout if done.returncode == 0 else done.stderr).rstrip().splitlines()


LAST_LINES = 15
_CONDITIONS = r'{range .status.conditions[*]}{.type}{"\t"}{.status}{"\t"}{.reason}{": "}{.message}{"\n"}{end}'
_NAMES = r'{range .items[*]}{.metadata.namespace}{" "}{.metadata.name}{"\n"}{end}'
_EVENTS = "custom-columns=:.lastTimestamp,:.type,:.reason,:.involvedObject.name,:.message"
