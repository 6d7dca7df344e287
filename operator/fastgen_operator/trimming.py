"""What is kept of a live object: enough to judge it, and no more, for there may be thousands. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastgen.contract import labels

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
    """Whose it is, which of its fields are ours, and what its controller says."""
    status = thing.get("status") or {}
    metadata = {**_metadata(thing), "managedFields": [*_our_entries(thing)]}
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


def _our_entries(thing: Json) -> list[Json]:
    return [entry for entry in (thing.get("metadata") or {}).get("managedFields") or () if _is_ours(entry)]


def _is_ours(entry: Json) -> bool:
    return (
        entry.get("manager") == labels.FIELD_MANAGER
        and entry.get("operation") == "Apply"
        and not entry.get("subresource")
    )


def owned_fields(thing: Json) -> Any:
    """The fields of a live object that are ours, as the API server keeps them (`fieldsV1`); None where none is.

    Whoever changes or removes one of them takes it from us, so a field that is missing here is one that somebody
    else has changed: no comparing of values, and of what an API server makes of them ("1000m" is "1"), is needed.
    """
    entries = _our_entries(thing)
    return entries[0].get("fieldsV1") if entries else None
