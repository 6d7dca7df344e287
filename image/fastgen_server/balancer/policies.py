"""Which replica gets a request. Pure: numbers in, an index out. New policies register here."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from fastgen.errors import UnknownOptionError


class Load(NamedTuple):
    """What a policy sees of one replica that may be chosen."""

    outstanding_tokens: float
    """Work sent to it and not yet answered, by all balancers as far as is known."""
    in_flight: int


class Policy(Protocol):
    """Chooses among replicas that are all ready."""

    def pick(self, loads: Sequence[Load]) -> int:
        """The index of the replica that gets the next request; `loads` is not empty."""
        ...


class RoundRobin:
    """Each in turn, whatever it is doing."""

    def __init__(self) -> None:
        self._turn = 0

    def pick(self, loads: Sequence[Load]) -> int:
        self._turn += 1
        return self._turn % len(loads)


class LeastWork:
    """The fewest outstanding tokens: requests differ a hundredfold in work, so counting them is not enough.

    With several balancers each sees the same idle replica at the same moment and they would all choose it;
    comparing only two random ones breaks the herd and is nearly as good (Mitzenmacher 2001, "The Power of
    Two Choices in Randomized Load Balancing").
    """

    def __init__(self, *, two_choices: bool, rng: random.Random | None = None) -> None:
        self._two_choices = two_choices
        self._rng: random.Random = rng or random.Random()  # noqa: S311 - spreads load, keeps no secret
        self._turn = 0

    def pick(self, loads: Sequence[Load]) -> int:
        if self._two_choices and len(loads) > 2:
            first, second = self._rng.sample(range(len(loads)), 2)
            return first if loads[first] <= loads[second] else second
        # Equals take turns: without it the first of the list would warm up alone.
        self._turn += 1
        start = self._turn % len(loads)
        order = [*range(start, len(loads)), *range(start)]
        best: int = min(order, key=loads.__getitem__)
        return best


POLICIES: dict[str, Callable[[int], Policy]] = {
    "LeastWork": lambda balancers: LeastWork(two_choices=balancers > 1),
    "RoundRobin": lambda _balancers: RoundRobin(),
}


def make_policy(name: str, *, balancers: int = 1) -> Policy:
    """The policy registered as `name`, for one of `balancers` balancers that share the replicas."""
    if name not in POLICIES:
        raise UnknownOptionError(name, POLICIES, "the balancer's policy")
    return POLICIES[name](balancers)
