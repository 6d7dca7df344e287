"""Queue policies: who goes first, and so who is preempted last. A seam: one small class each."""

from __future__ import annotations

from typing import Protocol

from fastgen.core.sequence import RunningSequence
from fastgen.errors import UnknownOptionError


class QueuePolicy(Protocol):
    """Orders sequences by `key`, smallest first. Keys must differ between sequences, so that order is total.

    `served` tells a policy with a memory (fair shares, feedback queues) what a committed step gave to whom.
    """

    name: str

    def key(self, sequence: RunningSequence, now_seconds: float) -> tuple[float, ...]: ...

    def served(self, sequence: RunningSequence, num_tokens: int) -> None: ...


class FirstComeFirstServed:
    """By arrival."""

    name = "fcfs"

    def key(self, sequence: RunningSequence, now_seconds: float) -> tuple[float, ...]:
        return (sequence.arrival_seconds, sequence.sequence_id)

    def served(self, sequence: RunningSequence, num_tokens: int) -> None:
        """Keeps no accounts."""


class Priority(FirstComeFirstServed):
    """Lower priority number first, then by arrival."""

    name = "priority"

    def key(self, sequence: RunningSequence, now_seconds: float) -> tuple[float, ...]:
        return (sequence.request.priority, *super().key(sequence, now_seconds))


POLICIES: dict[str, type[QueuePolicy]] = {policy.name: policy for policy in (FirstComeFirstServed, Priority)}


def queue_policy(name: str) -> QueuePolicy:
    """The policy of that name; UnknownOptionError names the nearest."""
    if name not in POLICIES:
        raise UnknownOptionError(name, POLICIES, "queue_policy")
    return POLICIES[name]()
