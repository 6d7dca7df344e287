"""What is known of one container at one moment."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple


class Waiting(NamedTuple):
    reason: str
    message: str = ""


class Running(NamedTuple):
    started_at: str


class Terminated(NamedTuple):
    exit_code: int
    reason: str
    started_at: str = ""
    finished_at: str = ""
    message: str = ""
    container_id: str = ""


State = Waiting | Running | Terminated


class View(NamedTuple):
    """One container. Times are RFC 3339."""

    name: str
    image: str
    state: State
    last: Terminated | None = None
    restarts: int = 0
    is_started: bool = False
    """It runs, and its startup probe has succeeded where it has one."""
    is_ready: bool = False
    image_id: str = ""
    container_id: str = ""


def timestamp() -> str:
    """Now, as the API writes times."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
