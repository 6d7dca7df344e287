"""Live objects of one kind, as last heard of, whatever the order in which news arrive.

News come from lists, from watches, and from the answers to our own writes, which are ahead of the watch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

Json = Mapping[str, Any]
Name = tuple[str, str]
"""Namespace and name."""


class Table:
    """Objects by name. `on_change` is told of each object that came, changed or went."""

    def __init__(self, on_change: Callable[[Json | None, Json | None], None], trim: Callable[[Json], Json]) -> None:
        self._things: dict[Name, Json] = {}
        self._on_change = on_change
        self._trim = trim

    def __iter__(self) -> Iterator[Json]:
        return iter(self._things.values())

    def __len__(self) -> int:
        return len(self._things)

    def get(self, namespace: str, name: str) -> Json | None:
        return self._things.get((namespace, name))

    def put(self, thing: Json) -> bool:
        """Take over news of one object; False where something newer is known."""
        name = name_of(thing)
        before = self._things.get(name)
        if before is not None and not _is_newer(thing, before):
            return False
        after = self._things[name] = self._trim(thing)
        self._on_change(before, after)
        return True

    def drop(self, thing: Json) -> None:
        """Hear that an object is gone. Another one that took its name since stays."""
        name = name_of(thing)
        before = self._things.get(name)
        if before is not None and before["metadata"].get("uid") == thing["metadata"].get("uid"):
            del self._things[name]
            self._on_change(before, None)

    def replace(self, namespace: str | None, things: Iterable[Json], version: str) -> None:
        """Take over a list of a namespace (None: of all), read at `version`: what is not on it is gone."""
        listed = list(things)
        names = {name_of(thing) for thing in listed}
        for name, thing in list(self._things.items()):
            in_scope = namespace is None or name[0] == namespace
            if in_scope and name not in names and _number(thing["metadata"].get("resourceVersion")) <= _number(version):
                self.drop(thing)
        for thing in listed:
            self.put(thing)


def name_of(thing: Json) -> Name:
    metadata = thing["metadata"]
    return metadata.get("namespace") or "", metadata["name"]


def _is_newer(thing: Json, known: Json) -> bool:
    """The same version brings nothing new. Another object of the same name has the greater version, too."""
    return _number(thing["metadata"].get("resourceVersion")) > _number(known["metadata"].get("resourceVersion"))


def _number(version: Any) -> int:
    """API servers promise that versions of one kind can be compared, as numbers."""
    return int(version) if isinstance(version, str) and version.isdecimal() else 0
