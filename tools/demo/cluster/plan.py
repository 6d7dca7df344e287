"""What load is offered when: rates that double in steps and fall away. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple


class Step(NamedTuple):
    """Load of one height for a while."""

    load: float
    """1 is what one replica can do while it keeps its promise, by its own measurement."""
    seconds: float


@dataclass(frozen=True)
class LoadPlan:
    """Steps, one after the other."""

    steps: tuple[Step, ...]
    unit_per_second: float = 1.0
    """Requests a second that a load of 1 is, on this machine."""

    @property
    def seconds(self) -> float:
        """How long all of it takes."""
        return sum(step.seconds for step in self.steps)

    @property
    def rates(self) -> tuple[float, ...]:
        """Requests a second of each step."""
        return tuple(step.load * self.unit_per_second for step in self.steps)

    def rate_at(self, elapsed_seconds: float) -> float:
        """Requests a second offered then; 0 before it begins and after it ends."""
        if elapsed_seconds < 0:
            return 0.0
        for step, rate in zip(self.steps, self.rates, strict=True):
            if elapsed_seconds < step.seconds:
                return rate
            elapsed_seconds -= step.seconds
        return 0.0

    def is_last_step(self, elapsed_seconds: float) -> bool:
        """Whether the load has fallen away by then."""
        return elapsed_seconds >= self.seconds - self.steps[-1].seconds

    def due_times(self, seed: int) -> Iterator[float]:
        """When each request is sent, in seconds from the beginning: Poisson arrivals, the same for the same seed.

        Arrivals of rate 1 are stretched to the rate of the moment, so a step's change takes effect at once.
        """
        chance = random.Random(seed)  # noqa: S311 (drawn to be repeatable, not secret)
        due = chance.expovariate(1.0)
        began, counted = 0.0, 0.0
        for step, rate in zip(self.steps, self.rates, strict=True):
            until = counted + rate * step.seconds
            while due < until:
                yield began + (due - counted) / rate
                due += chance.expovariate(1.0)
            began, counted = began + step.seconds, until


DOUBLING = LoadPlan((Step(0.45, 25.0), Step(0.9, 40.0), Step(1.8, 60.0), Step(0.2, 120.0)))
"""One replica is enough, then two are needed, then three; and back, which ends it early."""
SHORT = LoadPlan((Step(0.9, 50.0), Step(0.2, 120.0)))
"""One replica more, and back."""
