"""Who gets a request, as numbers in and an index out."""

from __future__ import annotations

import random

import pytest

from fastgen.errors import UnknownOptionError
from fastgen_server.balancer.policies import LeastWork, Load, make_policy


def test_least_work_counts_tokens_not_requests() -> None:
    loads = [Load(9000, 1), Load(300, 20), Load(4000, 2)]
    assert make_policy("LeastWork").pick(loads) == 1


def test_equals_take_turns() -> None:
    policy = make_policy("LeastWork")
    assert {policy.pick([Load(0, 0)] * 3) for _ in range(3)} == {0, 1, 2}


def test_several_balancers_that_see_the_same_do_not_all_choose_the_same() -> None:
    loads = [Load(0, 0), *[Load(10, 1)] * 9]
    picks = [LeastWork(two_choices=True, rng=random.Random(seed)).pick(loads) for seed in range(200)]
    idle = picks.count(0) / len(picks)
    assert 0.1 < idle < 0.35  # Two of ten see the idle one a fifth of the time, not always.
    policy = LeastWork(two_choices=True, rng=random.Random(1))
    busy_first = [policy.pick([Load(99, 9), *loads]) for _ in range(99)]
    assert 0 not in busy_first  # Whoever is compared with the busiest wins.


def test_round_robin_visits_all_in_turn() -> None:
    policy = make_policy("RoundRobin")
    picks = [policy.pick([Load(i, 0) for i in range(3)]) for _ in range(6)]
    assert sorted(picks[:3]) == sorted(picks[3:]) == [0, 1, 2]


def test_an_unknown_policy_suggests_the_nearest() -> None:
    with pytest.raises(UnknownOptionError, match="LeastWork"):
        make_policy("LeastWrok")
