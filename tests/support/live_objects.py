"""FastGenDeployments as an API server hands them out, and the children an operator finds there."""

from __future__ import annotations

from typing import Any

from fastgen.contract import FastGenDeployment, parse_manifest
from fastgen_operator.desired import Images, KubeObject, Observed, desired

OBSERVED = Observed(Images("fastgen/serving:1", "fastgen/operator:1"))
SOURCE = "hf://org/model"


def live(source: str = SOURCE, *, generation: int = 1, **spec: Any) -> FastGenDeployment:
    """A deployment `llama` in the namespace `models`."""
    return parse_manifest(
        {
            "apiVersion": "fastgen.dev/v1alpha1",
            "kind": "FastGenDeployment",
            "metadata": {"name": "llama", "namespace": "models", "uid": "u-1", "generation": generation},
            "spec": {"model": {"source": source, **spec.pop("model", {})}, **spec},
        }
    )


def child(
    deployment: FastGenDeployment, kind: str, name: str | None = None, observed: Observed = OBSERVED
) -> KubeObject:
    """The one child of a kind (and name) that should exist."""
    found = [
        thing
        for thing in desired(deployment, observed)
        if thing["kind"] == kind and name in (None, thing["metadata"]["name"])
    ]
    assert len(found) == 1, f"{len(found)} of {kind} {name}"
    return found[0]


def replica_pods(deployment: FastGenDeployment) -> KubeObject:
    """The pod template of the replicas."""
    template: KubeObject = child(deployment, "Deployment", "llama-replica")["spec"]["template"]
    return template
