"""What the API server says when it does not do what it was asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from fastgen.errors import FastGenError


class FieldConflict(NamedTuple):
    """A field that another manager owns."""

    manager: str
    field: str


class ApiError(FastGenError):
    """An answer that is not 2xx. `message` holds the server's words."""

    def __init__(self, status: int, reason: str, message: str, causes: tuple[Mapping[str, Any], ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        """HTTP status."""
        self.reason = reason
        """One word, such as Forbidden."""
        self.message = message
        self.causes = causes

    @classmethod
    def of(cls, status: int, body: bytes) -> ApiError:
        """From what was answered, which is anything if a proxy answered."""
        try:
            said = json.loads(body)
        except ValueError:
            said = None
        if not isinstance(said, dict) or said.get("kind") != "Status":
            return cls(status, "Unknown", f"HTTP {status}: {body[:200].decode(errors='replace') or 'no words'}")
        causes = (said.get("details") or {}).get("causes") or ()
        return cls(status, said.get("reason") or "Unknown", said.get("message") or f"HTTP {status}", tuple(causes))

    @property
    def is_gone(self) -> bool:
        """There is no such object, or no such kind."""
        return self.status == 404

    @property
    def is_conflict(self) -> bool:
        return self.status == 409

    @property
    def is_transient(self) -> bool:
        """It may well work in a moment, with nothing changed: no reason to tell anyone yet."""
        return self.status in (401, 408, 409, 429, 502, 503, 504)

    @property
    def is_farewell(self) -> bool:
        """The namespace is being deleted: nothing new may be made in it."""
        return any(cause.get("reason") == "NamespaceTerminating" for cause in self.causes)

    def field_conflicts(self) -> tuple[FieldConflict, ...]:
        """Which fields of an apply others own; empty for any other error."""
        return tuple(
            FieldConflict(_manager(str(cause.get("message", ""))), str(cause.get("field", "?")))
            for cause in self.causes
            if cause.get("reason") == "FieldManagerConflict"
        )


def _manager(message: str) -> str:
    """The name in `conflict with "kubectl-patch" using apps/v1`."""
    parts = message.split('"')
    return parts[1] if len(parts) > 2 else "another manager"
