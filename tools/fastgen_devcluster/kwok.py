"""Nodes and pods that are only played, by kwok: for scale, where nothing needs to answer.

A node costs a Lease now and then, a pod one write; no process runs. Two annotations on a pod steer its life
(`kwok_stages.yaml` reads them).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastgen_devcluster.api import Api, ApiError

START_AFTER = "devcluster.fastgen.dev/start-after"
"""On a pod: how long after it was scheduled it is Ready, for example "20s"."""
FAILS = "devcluster.fastgen.dev/fails"
"""On a pod: it is never Ready, its containers wait with this reason, for example "CrashLoopBackOff"."""

STAGES = Path(__file__).with_name("kwok_stages.yaml")
NODE_MARK = "kwok.x-k8s.io/node"
"""Annotation of the nodes kwok plays, and, where there are others, taint: pods go there only if they tolerate it."""
LEASE_SECONDS = 40
POD_ADDRESSES = "10.128.0.0/16"
CONFLICT = 409


def command(program: Path, *, kubeconfig: Path) -> list[str]:
    """How kwok is called."""
    return [
        str(program),
        f"--kubeconfig={kubeconfig}",
        f"--config={STAGES}",
        f"--manage-nodes-with-annotation-selector={NODE_MARK}=fake",
        f"--node-lease-duration-seconds={LEASE_SECONDS}",
        f"--cidr={POD_ADDRESSES}",
    ]


def node_names(count: int) -> tuple[str, ...]:
    return tuple(f"fake-{index}" for index in range(count))


def node(name: str, *, gpus: int, tainted: bool) -> dict[str, Any]:
    """The manifest of a node that kwok plays. `tainted` keeps pods away that must really run."""
    capacity = {"cpu": "64", "memory": "512Gi", "ephemeral-storage": "1Ti", "pods": "250", "nvidia.com/gpu": str(gpus)}
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "type": "kwok",
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": {NODE_MARK: "fake"}},
        "spec": {"taints": [{"key": NODE_MARK, "value": "fake", "effect": "NoSchedule"}] if tainted else []},
        "status": {"capacity": capacity, "allocatable": capacity},
    }


def create_nodes(api: Api, count: int, *, gpus: int, tainted: bool) -> None:
    """Make the nodes that are not there yet. Raises ApiError, OSError."""
    for name in node_names(count):
        try:
            api.call("POST", "/api/v1/nodes", node(name, gpus=gpus, tainted=tainted))
        except ApiError as error:
            if error.status != CONFLICT:
                raise
