"""Waking the reconciler when something that `status` publishes has changed, and not with every look."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from fastgen_operator.autoscaler import Decision
from fastgen_operator.autoscaler.capacity import estimate
from fastgen_operator.key import Key
from fastgen_operator.rounding import two_digits

NUMBERS_SECONDS = 15.0
"""Numbers alone are published no more often: under load they change with every look, and metrics have them all."""


class _Words(NamedTuple):
    """What is published at once."""

    replicas: int
    reason: str
    blindness: str | None


class _Numbers(NamedTuple):
    """What is published once in a while."""

    demand: int | None
    capacity: int | None
    factor: str
    attainment: str | None


class _Published(NamedTuple):
    words: _Words
    numbers: _Numbers
    at_seconds: float


class Publisher:
    """Remembers what was published last."""

    def __init__(self, wake: Callable[[Key], None]) -> None:
        self._wake = wake
        self._last: dict[Key, _Published] = {}

    def publish(self, key: Key, decision: Decision) -> None:
        """Wake the key, if this decision reads differently."""
        found, numbers, now = _words(decision), _numbers(decision), time.monotonic()
        last = self._last.get(key)
        is_soon = last is not None and now - last.at_seconds < NUMBERS_SECONDS
        if last is not None and found == last.words and (is_soon or numbers == last.numbers):
            return
        self._last[key] = _Published(found, numbers, now)
        self._wake(key)

    def forget(self, key: Key) -> None:
        self._last.pop(key, None)


def _words(decision: Decision) -> _Words:
    return _Words(decision.replicas, decision.reason, None if decision.is_informed else decision.message)


def _numbers(decision: Decision) -> _Numbers:
    attainment = decision.numbers.attainment
    return _Numbers(
        two_digits(decision.numbers.demand_tokens_per_second),
        two_digits(estimate(decision.new_state)),
        f"{decision.new_state.capacity_factor:.2f}",
        None if attainment is None else f"{attainment:.3f}",
    )
