"""From measured times to a choice: which candidate multiplies at which number of tokens, memory in mind."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import NamedTuple

from fastgen_kernels.linear.candidates import CANDIDATES

Times = Mapping[str, Mapping[int, float]]
"""Seconds by candidate and number of tokens."""

SECOND_COPY_GAIN = 1.15
"""A second copy of a weight must make its layer at least this much faster, averaged over numbers of tokens."""


MIXING_COST = 0.03
"""A second way to multiply must gain this much (3 %): less is noise."""


class LinearChoice(NamedTuple):
    """names[i] multiplies up to most_tokens[i] tokens; the last name, any number above."""

    most_tokens: tuple[int, ...]
    names: tuple[str, ...]
    """One more than most_tokens."""

    def name_for(self, tokens: int) -> str:
        return self.names[bisect_left(self.most_tokens, tokens)]

    @property
    def copies(self) -> int:
        return _copies(set(self.names))


PLAIN = LinearChoice((), ("plain",))


def choose(times: Times, *, second_copy: bool) -> LinearChoice:
    """The fastest set of candidates that needs one copy of the weight; two where allowed and worth it."""
    sets = [set(names) for size in (1, 2, 3) for names in combinations(times, size)]
    best = min((each for each in sets if _copies(each) == 1), key=lambda each: _cost(times, each))
    if second_copy:
        richer = min((each for each in sets if _copies(each) <= 2), key=lambda each: _cost(times, each))
        if _cost(times, best) - _cost(times, richer) > math.log(SECOND_COPY_GAIN):
            best = richer
    return _by_tokens(times, best)


def _copies(names: Iterable[str]) -> int:
    chosen = [CANDIDATES[name] for name in names]
    return int(any(each.keeps_weight for each in chosen)) + sum(each.makes_copy for each in chosen)


def _cost(times: Times, names: Iterable[str]) -> float:
    """Mean log time over the numbers of tokens, each with its fastest of `names`, and a little for each name."""
    names, tokens = list(names), list(times["plain"])
    mean = sum(math.log(min(times[name][count] for name in names)) for count in tokens) / len(tokens)
    return mean + MIXING_COST * (len(names) - 1)


def _by_tokens(times: Times, names: set[str]) -> LinearChoice:
    """Between two measured numbers of tokens the border is their geometric mean."""
    most_tokens: list[int] = []
    chosen: list[str] = []
    previous = 0
    order = [name for name in times if name in names]
    for count in sorted(times["plain"]):
        fastest = min(order, key=lambda name: times[name][count])
        if chosen and fastest != chosen[-1]:
            most_tokens.append(math.isqrt(previous * count))
        if not chosen or fastest != chosen[-1]:
            chosen.append(fastest)
        previous = count
    return LinearChoice(tuple(most_tokens), tuple(chosen))
