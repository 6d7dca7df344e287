"""What all objects share: their name and owner, the security context, the hash of what they were made from."""

from __future__ import annotations

import hashlib
import json
from typing import Any, NamedTuple

from fastgen.contract import FastGenDeployment, labels
from fastgen.errors import FastGenError

KubeObject = dict[str, Any]
"""An object as the Kubernetes API takes it."""

USER_ID = 10001
"""The user of both images (Dockerfile)."""


class CannotRunError(FastGenError):
    """A manifest that the schema lets pass and that cannot run here. `reason` is the condition's."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Images(NamedTuple):
    """Images of the operator's own version."""

    serving: str
    """With the engine."""
    light: str
    """Without it: operator and balancer."""


class Observed(NamedTuple):
    """What the cluster has that objects depend on."""

    images: Images
    has_service_monitors: bool = False
    """The Prometheus operator's CRD ServiceMonitor is installed."""


def metadata(deployment: FastGenDeployment, component: str, name: str) -> KubeObject:
    """Metadata of a child, which goes when its FastGenDeployment goes."""
    return {
        "name": name,
        "namespace": namespace_of(deployment),
        "labels": labels.object_labels(deployment.name, component),
        "ownerReferences": [owner_reference(deployment)],
    }


def owner_reference(deployment: FastGenDeployment) -> KubeObject:
    return {
        "apiVersion": labels.API_VERSION,
        "kind": labels.KIND,
        "name": deployment.name,
        "uid": _live(deployment, "uid"),
        "controller": True,
        "blockOwnerDeletion": True,
    }


def namespace_of(deployment: FastGenDeployment) -> str:
    if deployment.metadata.namespace is None:
        raise ValueError(f"{deployment.name} has no namespace; desired() takes an object that an API server handed out")
    return deployment.metadata.namespace


def _live(deployment: FastGenDeployment, field: str) -> str:
    found = (deployment.metadata.model_extra or {}).get(field)
    if found is None:
        raise ValueError(f"{deployment.name} has no {field}; desired() takes an object that an API server handed out")
    return str(found)


def hash_of(content: Any) -> str:
    """A short hash, equal for equal content."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def with_hash(workload: KubeObject) -> KubeObject:
    """A Deployment whose pods, and itself, say what they were made from: other content is another rollout."""
    template = workload["spec"]["template"]
    annotations = {**template["metadata"].get("annotations", {}), labels.SPEC_HASH: hash_of(template)}
    template = {**template, "metadata": {**template["metadata"], "annotations": annotations}}
    own = {**workload["metadata"], "annotations": {labels.SPEC_HASH: annotations[labels.SPEC_HASH]}}
    return {**workload, "metadata": own, "spec": {**workload["spec"], "template": template}}


def pod_security() -> KubeObject:
    """The Pod Security Standards' level "restricted"."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER_ID,
        "runAsGroup": USER_ID,
        "fsGroup": USER_ID,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> KubeObject:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def http_probe(path: str, port: str, *, period_seconds: int, failures: int, timeout_seconds: int = 5) -> KubeObject:
    return {
        "httpGet": {"path": path, "port": port},
        "periodSeconds": period_seconds,
        "failureThreshold": failures,
        "timeoutSeconds": timeout_seconds,
    }


def scrape_annotations(port: int) -> dict[str, str]:
    return {labels.SCRAPE: "true", labels.SCRAPE_PORT: str(port), labels.SCRAPE_PATH: "/metrics"}
