"""What the supervisor should do next, decided from what it sees. Pure: `Supervisor` has the effects.

waiting ──start──► starting ──address file──► ready ──SIGTERM──► stopping ──► ended
   ▲                   │                        │
   └──── back-off ─────┴──────── exit ──────────┘
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from fastgen_server.local.planning import Role

Phase = Literal["waiting", "starting", "ready", "stopping", "ended"]

BACKOFF_FIRST_SECONDS = 1.0
BACKOFF_MOST_SECONDS = 30.0
HEALTHY_SECONDS = 10.0
"""A process that was ready this long has recovered: its next failure waits the first back-off again."""
SILENT_SECONDS = 60.0
"""A process that used to answer and has not for this long hangs, and is started anew."""
DRAIN_SECONDS = 40.0
"""Longer than the grace of server and balancer (30 s), which end by themselves."""
MOST_FALSE_STARTS = 3
USAGE_STATUS = 2


@dataclass(frozen=True)
class Slot:
    """One process of the plan and what became of it so far. Times are `time.monotonic()` seconds."""

    name: str
    role: Role
    phase: Phase = "waiting"
    pid: int | None = None
    start_at: float = 0.0
    """While waiting: not before this."""
    ready_at: float = 0.0
    heard_at: float = 0.0
    """When it last answered; 0 where nobody asks, and then silence means nothing."""
    stopping_since: float = 0.0
    failures: int = 0
    """Exits in a row without a healthy spell between them."""
    restarts: int = 0
    was_ever_ready: bool = False
    last_status: int | None = None
    """As `subprocess` tells it: the exit status, or minus the signal."""


class Start(NamedTuple):
    name: str


class Terminate(NamedTuple):
    """SIGTERM: finish what runs, then end."""

    name: str


class Kill(NamedTuple):
    name: str
    reason: str


class GiveUp(NamedTuple):
    """Starting again would fail again."""

    name: str
    reason: str


class Finish(NamedTuple):
    """All has ended, as wished."""


Action = Start | Terminate | Kill | GiveUp | Finish


def decide(slots: Mapping[str, Slot], now: float, *, stopping: bool, at_once: bool = False) -> list[Action]:
    """The next actions. `stopping`: everything should drain and end; `at_once`: without draining."""
    if stopping:
        return _decide_stopping(slots, now, at_once)
    hopeless = _hopeless(slots)
    if hopeless is not None:
        return [hopeless]
    actions: list[Action] = []
    for slot in slots.values():
        if slot.phase == "waiting" and now >= slot.start_at:
            actions.append(Start(slot.name))
        elif slot.phase == "ready" and slot.heard_at > 0.0 and now - slot.heard_at > SILENT_SECONDS:
            actions.append(Kill(slot.name, f"it has not answered for {SILENT_SECONDS:g} s"))
    return actions


def _decide_stopping(slots: Mapping[str, Slot], now: float, at_once: bool) -> list[Action]:
    """The balancer drains first, while its replicas still answer; then the replicas."""
    running = [slot for slot in slots.values() if slot.phase in ("starting", "ready", "stopping")]
    if not running:
        return [Finish()]
    actions: list[Action] = []
    balancer_runs = any(slot.role == "balancer" for slot in running)
    for slot in running:
        if at_once:
            actions.append(Kill(slot.name, "it was told to end at once"))
        elif slot.phase == "stopping":
            if now - slot.stopping_since > DRAIN_SECONDS:
                actions.append(Kill(slot.name, f"it did not finish within {DRAIN_SECONDS:g} s"))
        elif slot.role == "balancer" or not balancer_runs:
            actions.append(Terminate(slot.name))
    return actions


def _hopeless(slots: Mapping[str, Slot]) -> GiveUp | None:
    """A process that never once came up and fails the same way again, where none of its kind ever came up."""
    for slot in slots.values():
        if slot.phase != "waiting" or slot.last_status is None:
            continue
        if any(other.was_ever_ready for other in slots.values() if other.role == slot.role):
            continue
        if slot.last_status == USAGE_STATUS:
            return GiveUp(slot.name, "it was refused what it was started with")
        if slot.failures >= MOST_FALSE_STARTS:
            return GiveUp(slot.name, f"it failed {slot.failures} times without ever being ready")
    return None


def started(slot: Slot, pid: int) -> Slot:
    return dataclasses.replace(slot, phase="starting", pid=pid)


def became_ready(slot: Slot, now: float) -> Slot:
    return dataclasses.replace(slot, phase="ready", ready_at=now, heard_at=0.0, was_ever_ready=True)


def was_heard(slot: Slot, now: float) -> Slot:
    return dataclasses.replace(slot, heard_at=now)


def told_to_stop(slot: Slot, now: float) -> Slot:
    return dataclasses.replace(slot, phase="stopping", stopping_since=now)


def exited(slot: Slot, now: float, status: int, *, stopping: bool) -> Slot:
    """The process is gone. Unless everything is stopping it waits its back-off and starts again."""
    if stopping:
        return dataclasses.replace(slot, phase="ended", pid=None, last_status=status)
    was_healthy = slot.phase == "ready" and now - slot.ready_at >= HEALTHY_SECONDS
    failures = 1 if was_healthy else slot.failures + 1
    return dataclasses.replace(
        slot,
        phase="waiting",
        pid=None,
        start_at=now + backoff_seconds(failures),
        failures=failures,
        restarts=slot.restarts + 1,
        last_status=status,
    )


def backoff_seconds(failures: int) -> float:
    """1, 2, 4, ... 30 seconds."""
    return min(BACKOFF_MOST_SECONDS, BACKOFF_FIRST_SECONDS * 2.0 ** min(failures - 1, 10))
