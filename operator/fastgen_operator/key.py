"""Which FastGenDeployment: the one thing that queue, store, status and scaling all speak of."""

from __future__ import annotations

from typing import NamedTuple


class Key(NamedTuple):
    """Namespace and name."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"
