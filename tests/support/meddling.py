"""What people and programs do to objects that are the operator's: the edit, and how it looks once it is put back."""

from __future__ import annotations

from collections.abc import Callable

from cluster_namespace import Json


def containers(thing: Json) -> list[Json]:
    found: list[Json] = thing["spec"]["template"]["spec"]["containers"]
    return found


# What -> kind, name, JSON patch, whether it is put back.
EDITS: dict[str, tuple[str, str, list[Json], Callable[[Json], bool]]] = {
    "a renamed container": (
        "Deployment",
        "llama-replica",
        [{"op": "replace", "path": "/spec/template/spec/containers/0/name", "value": "other"}],
        lambda thing: [each["name"] for each in containers(thing)] == ["engine"],
    ),
    "an added container": (
        "Deployment",
        "llama-balancer",
        [{"op": "add", "path": "/spec/template/spec/containers/-", "value": {"name": "miner", "image": "miner"}}],
        lambda thing: len(containers(thing)) == 1,
    ),
    "an added variable": (
        "Deployment",
        "llama-replica",
        [{"op": "add", "path": "/spec/template/spec/containers/0/env/-", "value": {"name": "X", "value": "y"}}],
        lambda thing: "X" not in [each["name"] for each in containers(thing)[0]["env"]],
    ),
    "a memory limit that nobody asked for": (
        "Deployment",
        "llama-balancer",
        [{"op": "add", "path": "/spec/template/spec/containers/0/resources/limits", "value": {"memory": "1Gi"}}],
        lambda thing: "limits" not in containers(thing)[0]["resources"],
    ),
    "a pause": (
        "Deployment",
        "llama-replica",
        [{"op": "add", "path": "/spec/paused", "value": True}],
        lambda thing: "paused" not in thing["spec"],
    ),
    "another port under the same name": (
        "Service",
        "llama",
        [{"op": "replace", "path": "/spec/ports/0/port", "value": 8080}],
        lambda thing: [port["port"] for port in thing["spec"]["ports"]] == [80, 81],
    ),
    "a selector that selects nothing": (
        "Service",
        "llama-replica",
        [{"op": "add", "path": "/spec/selector/x", "value": "y"}],
        lambda thing: "x" not in thing["spec"]["selector"],
    ),
    "a taken-off label": (
        "PodDisruptionBudget",
        "llama-replica",
        [{"op": "remove", "path": "/metadata/labels/app.kubernetes.io~1managed-by"}],
        lambda thing: thing["metadata"]["labels"].get("app.kubernetes.io/managed-by") == "fastgen-operator",
    ),
    "a taken-off owner": (
        "ServiceAccount",
        "llama-balancer",
        [{"op": "remove", "path": "/metadata/ownerReferences"}],
        lambda thing: bool(thing["metadata"].get("ownerReferences")),
    ),
    "more rights for the balancer": (
        "Role",
        "llama-balancer",
        [{"op": "add", "path": "/rules/-", "value": {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}}],
        lambda thing: len(thing["rules"]) == 1,
    ),
}
