"""A person's additions laid over ours, as a strategic merge lays them: lists by the key that names their entries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Json = Mapping[str, Any]


def merged(ours: Json, theirs: Json) -> dict[str, Any]:
    """Field by field, theirs over ours; fields within fields likewise."""
    found = dict(ours)
    for key, value in theirs.items():
        old = found.get(key)
        found[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return found


def merged_by(key: str, ours: Iterable[Json], theirs: Iterable[Json]) -> list[dict[str, Any]]:
    """Entries that share `key` become theirs, in our place; the others of theirs follow.

    Whole entries are replaced: a volume of two kinds is none, and an environment variable has one value.
    """
    found = {entry[key]: dict(entry) for entry in ours}
    for entry in theirs:
        if key in entry:
            found[entry[key]] = dict(entry)
    # An entry without its key is the API server's to refuse, so it must reach it.
    return [*found.values(), *(dict(entry) for entry in theirs if key not in entry)]


def appended(ours: Sequence[Json], theirs: Sequence[Json]) -> list[dict[str, Any]]:
    """Ours, then those of theirs that we do not have."""
    return [dict(entry) for entry in (*ours, *(entry for entry in theirs if entry not in ours))]


def without_empty(fields: Json) -> dict[str, Any]:
    """What was given: an absent field and an empty one mean the same, and an absent one is not owned by us."""
    return {key: value for key, value in fields.items() if value not in (None, [], {})}
