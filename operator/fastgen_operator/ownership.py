"""Which fields of a live object are ours, and which others wrote into it, by the API server's own record. Pure.

`metadata.managedFields` keeps, for each manager, the fields it set. Whoever changes or removes a field of ours takes it
from us. So what is missing from our entry, or is new in another's, is an edit: no comparing of values, and of what an
API server makes of them ("1000m" is "1"), is needed.

The spec of a child is ours as a whole. Labels and annotations of others stay, on its pod template too, which is how
`kubectl rollout restart` works.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from fastgen.contract import labels

Json = Mapping[str, Any]
Path = tuple[str, ...]


class Edit(NamedTuple):
    """A field that another manager set."""

    path: Path
    """Down to the field, or to the outermost list it is in."""
    manager: str


SHARED: tuple[Path, ...] = (("metadata",), ("status",), ("spec", "template", "metadata"))
"""Where others may write."""
COMPLETED = frozenset({"PersistentVolumeClaim", "ServiceAccount"})
"""Kinds that Kubernetes itself completes: it binds claims to volumes, and may give accounts their secrets."""


def entries_worth_keeping(thing: Json) -> list[Json]:
    """managedFields without what is never looked at."""
    return [
        {**entry, "fieldsV1": {name: below for name, below in fields.items() if name not in ("f:metadata", "f:status")}}
        if not is_ours(entry)
        else entry
        for entry in _entries(thing)
        if isinstance(fields := entry.get("fieldsV1"), Mapping)
    ]


def is_ours(entry: Json) -> bool:
    """Made by our applies; what webhooks add to them stands under our name, and another operation."""
    return entry.get("manager") == labels.FIELD_MANAGER and entry.get("operation") == "Apply"


def owned_fields(thing: Json) -> Any:
    """The fields that are ours (`fieldsV1`); None where none is."""
    return next((entry.get("fieldsV1") for entry in _entries(thing) if is_ours(entry)), None)


def edits_of(thing: Json, ours: Any) -> tuple[Edit, ...]:
    """What others set where everything should be ours: `ours` are the fields that we set last."""
    mine = set(_leaves(ours or {}, ()))
    if thing.get("kind") in COMPLETED:
        return ()
    found = {
        Edit(_to_outermost_list(leaf), str(entry.get("manager")))
        for entry in _entries(thing)
        if entry.get("manager") != labels.FIELD_MANAGER
        for leaf in _leaves(entry.get("fieldsV1") or {}, ())
        if leaf not in mine
    }
    return tuple(sorted(edit for edit in found if not _is_shared(edit.path)))


def undo(edits: Iterable[Edit], content: Json) -> dict[str, Any]:
    """A JSON merge patch that makes those fields what `content` says, or takes them away."""
    patch: dict[str, Any] = {}
    for edit in edits:
        *above, last = edit.path
        place, wanted = patch, content
        for step in above:
            place = place.setdefault(step, {})
            found = wanted.get(step)
            wanted = found if isinstance(found, Mapping) else {}
        place[last] = wanted.get(last)
    return patch


def text_of(path: Path) -> str:
    return "." + ".".join(path)


def _entries(thing: Json) -> Iterator[Json]:
    for entry in thing["metadata"].get("managedFields") or ():
        if not entry.get("subresource") or entry.get("subresource") == "scale":
            yield entry


def _leaves(fields: Json, path: Path) -> Iterator[Path]:
    """Every field that is set, by the record's own steps: "f:" and a name, "k:" and the keys of an item of a list."""
    names = [name for name in fields if name != "."]
    if not names and path:  # an entry may hold nothing at all, of what is kept of it
        yield path
    for name in names:
        yield from _leaves(fields[name], (*path, name))


def _to_outermost_list(leaf: Path) -> Path:
    """Items of lists cannot be patched one by one."""
    return tuple(step.removeprefix("f:") for step in itertools.takewhile(lambda step: step.startswith("f:"), leaf))


def _is_shared(path: Path) -> bool:
    return any(path[: len(shared)] == shared for shared in SHARED)
