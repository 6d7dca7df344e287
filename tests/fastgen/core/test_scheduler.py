"""Admission, preemption, prefix reuse, endings: what the scheduler promises, case by case."""

from __future__ import annotations

import pytest
from scheduling import EOS, World, limits, request

from fastgen.core.events import TokenEvent
from fastgen.errors import InvalidRequestError, OverloadedError, TooLongError


def test_what_can_never_fit_is_refused_with_the_numbers() -> None:
    world = World(limits(max_model_tokens=128))
    with pytest.raises(TooLongError, match=r"120 tokens and 20 new tokens need 140, but the model's context holds 128"):
        world.add(request(1, 120, new_tokens=20))
    with pytest.raises(InvalidRequestError, match="empty"):
        world.add(request(1, ()))
    small = World(limits(num_blocks=4))
    with pytest.raises(TooLongError, match=r"the KV cache \(4 blocks of 4 tokens\) holds 16"):
        small.add(request(1, 14, new_tokens=4))
    assert not world.scheduler.has_work


def test_a_full_queue_refuses_the_next_request() -> None:
    world = World(limits(max_queued_requests=2))
    world.add(request(1, 4), request(2, 4))
    with pytest.raises(OverloadedError, match="2 requests are waiting"):
        world.add(request(3, 4))


def test_a_shared_beginning_is_computed_once() -> None:
    world = World(limits(token_budget=64))
    world.add(request(1, [*range(100, 132), 1000], new_tokens=1))
    world.run()
    world.add(request(2, [*range(100, 132), 2000, 2001], new_tokens=1))
    plan = world.step()
    assert plan.admitted[0].num_cached_tokens == 32
    assert plan.num_tokens == 2
    timing = next(e.timing for e in world.events if isinstance(e, TokenEvent) and e.sequence_id == 2)
    assert timing is not None
    assert timing.num_cached_tokens == 32


def test_the_last_token_of_a_wholly_cached_prompt_is_computed_again() -> None:
    world = World(limits(token_budget=64))
    for sequence_id in (1, 2):
        world.add(request(sequence_id, 32, new_tokens=1))
        world.run()
    assert world.plans[-1].admitted[0].num_cached_tokens == 28
    assert world.plans[-1].num_tokens == 4


def test_without_prefix_cache_everything_is_computed() -> None:
    world = World(limits(token_budget=64, prefix_cache=False))
    for sequence_id in (1, 2):
        world.add(request(sequence_id, 32, new_tokens=1))
        world.run()
    assert [plan.num_tokens for plan in world.plans] == [32, 32]


def test_preemption_loses_no_token_and_resamples_none() -> None:
    world = World(limits(num_blocks=8, token_budget=32, max_model_tokens=32))
    world.add(request(1, 12, new_tokens=16), request(2, range(500, 512), new_tokens=16))
    world.run()
    assert world.scheduler.num_preemptions > 0
    calm = World(limits(num_blocks=64, token_budget=32, max_model_tokens=32))
    calm.add(request(1, 12, new_tokens=16), request(2, range(500, 512), new_tokens=16))
    calm.run()
    for sequence_id in (1, 2):
        assert world.tokens_of(sequence_id) == calm.tokens_of(sequence_id)
        assert len(world.tokens_of(sequence_id)) == 16


def test_the_latest_is_preempted_first() -> None:
    world = World(limits(num_blocks=8, token_budget=32, max_model_tokens=32))
    world.add(request(1, 12, new_tokens=16), request(2, range(500, 512), new_tokens=16))
    world.run()
    assert {i for plan in world.plans for i in plan.preempted} == {2}


def test_priority_goes_before_arrival() -> None:
    world = World(limits(token_budget=8), policy="priority")
    world.add(request(1, 8, priority=1), request(2, range(500, 508), priority=0))
    assert [c.sequence_id for c in world.step().chunks] == [2]


def test_endings() -> None:
    world = World(token=lambda sequence_id, position: EOS if (sequence_id, position) == (1, 6) else 300)
    world.add(request(1, 4, new_tokens=10), request(2, range(500, 504), new_tokens=3))
    world.run()
    finishes = {e.sequence_id: e.finish for e in world.events if isinstance(e, TokenEvent) and e.finish}
    assert finishes == {1: "stop", 2: "length"}
    assert world.tokens_of(1) == [300, 300, EOS]
    assert world.scheduler.pool.num_held == 0


def test_a_removed_sequence_frees_its_blocks_at_once() -> None:
    world = World()
    world.add(request(1, 20, new_tokens=10))
    world.step()
    assert world.scheduler.pool.num_held > 0
    world.scheduler.remove(1)
    assert world.scheduler.pool.num_held == 0
    assert world.scheduler.remove(1) is None
    world.scheduler.check_integrity()


def test_a_dropped_plan_changes_nothing() -> None:
    world = World()
    world.add(request(1, 20, new_tokens=2))
    world.scheduler.schedule(1.0)
    assert world.scheduler.num_waiting == 1
    assert world.scheduler.pool.num_held == 0
    world.run()
    assert len(world.tokens_of(1)) == 2
