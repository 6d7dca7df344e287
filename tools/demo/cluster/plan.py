"""How many people ask, and when: a load that doubles in steps and falls away. Pure."""

from __future__ import annotations

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
    unit_people: float = 1.0
    """People who make a load of 1 on this machine."""

    @property
    def seconds(self) -> float:
        """How long all of it takes."""
        return sum(step.seconds for step in self.steps)

    @property
    def people(self) -> tuple[int, ...]:
        """Who asks in each step; somebody always does."""
        return tuple(max(1, round(step.load * self.unit_people)) for step in self.steps)

    def people_at(self, elapsed_seconds: float) -> int:
        """Who asks then; nobody before it begins and after it ends."""
        if elapsed_seconds < 0:
            return 0
        for step, people in zip(self.steps, self.people, strict=True):
            if elapsed_seconds < step.seconds:
                return people
            elapsed_seconds -= step.seconds
        return 0

    def is_last_step(self, elapsed_seconds: float) -> bool:
        """Whether the load has fallen away by then."""
        return elapsed_seconds >= self.seconds - self.steps[-1].seconds


DOUBLING = LoadPlan((Step(0.35, 20.0), Step(0.7, 45.0), Step(1.4, 85.0), Step(0.12, 120.0)))
"""One replica is enough, then two are needed, then three; and back, which ends it early."""
SHORT = LoadPlan((Step(0.7, 60.0), Step(0.1, 120.0)))
"""One replica more, and back."""
