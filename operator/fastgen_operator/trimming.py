"""What is kept of a live object: enough to judge it, and no more, for there may be thousands. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastgen.contract import labels
from fastgen_operator.ownership import entries_worth_keeping

Json = Mapping[str, Any]

_METADATA = (
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "labels",
    "ownerReferences",
)
_CONTAINER = ("name", "image", "restartCount", "state", "lastState")


def trimmed_child(thing: Json) -> Json:
    """Whose it is, who set which of its fields, and what its controller says."""
    status = thing.get("status") or {}
    metadata = {**_metadata(thing), "managedFields": entries_worth_keeping(thing)}
    kept: dict[str, Any] = {"apiVersion": thing.get("apiVersion"), "kind": thing.get("kind"), "metadata": metadata}
    if status.get("conditions"):
        kept["status"] = {"conditions": status["conditions"]}
    return kept


def trimmed_pod(thing: Json) -> Json:
    """How far it is, and why no further."""
    status = thing.get("status") or {}
    kept = {"phase": status.get("phase"), "conditions": status.get("conditions") or []}
    for name in ("initContainerStatuses", "containerStatuses"):
        kept[name] = [{field: each.get(field) for field in _CONTAINER} for each in status.get(name) or ()]
    return {"metadata": _metadata(thing), "status": kept}


def trimmed_deployment(thing: Json) -> Json:
    """A FastGenDeployment without the notes that others keep on it."""
    metadata = thing.get("metadata") or {}
    kept = {name: metadata[name] for name in (*_METADATA, "generation") if name in metadata}
    return {**thing, "metadata": kept}


def _metadata(thing: Json) -> dict[str, Any]:
    metadata = thing.get("metadata") or {}
    kept = {name: metadata[name] for name in _METADATA if name in metadata}
    made_from = (metadata.get("annotations") or {}).get(labels.SPEC_HASH)
    return {**kept, "annotations": {labels.SPEC_HASH: made_from}} if made_from is not None else kept
