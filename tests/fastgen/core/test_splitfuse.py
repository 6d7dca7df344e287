"""Dynamic SplitFuse, rule by rule."""

from __future__ import annotations

import pytest
from scheduling import World, limits, request

from fastgen.core.compositions import equal_share


def chunk_sizes(world: World, sequence_id: int) -> list[int]:
    return [c.num_tokens for plan in world.plans for c in plan.chunks if c.sequence_id == sequence_id]


def test_a_lone_long_prompt_fills_every_step_but_the_last() -> None:
    world = World(limits(token_budget=16))
    world.add(request(1, 40, new_tokens=1))
    world.run()
    assert [plan.num_tokens for plan in world.plans] == [16, 16, 8]


def test_a_long_prompt_is_cut_equally_and_the_next_prompt_takes_the_rest() -> None:
    world = World(limits(token_budget=16))
    world.add(request(1, 24, new_tokens=1), request(2, range(500, 540), new_tokens=1))
    world.run()
    assert chunk_sizes(world, 1) == [12, 12]
    assert chunk_sizes(world, 2)[:2] == [4, 4]
    assert all(plan.num_tokens == 16 for plan in world.plans), "the budget is a target while prompt work waits"


def test_decodes_ride_in_every_step_while_a_prompt_is_taken_in() -> None:
    world = World(limits(token_budget=16))
    world.add(request(1, 4, new_tokens=6))
    world.step()
    world.add(request(2, range(500, 560), new_tokens=1))
    for _ in range(4):
        plan = world.step()
        assert plan.chunks[0].sequence_id == 1
        assert plan.chunks[0].is_decode
        assert plan.num_tokens == 16


def test_only_the_last_chunk_of_a_prompt_samples() -> None:
    world = World(limits(token_budget=16))
    world.add(request(1, 40, new_tokens=1))
    world.run()
    assert [chunk.samples for plan in world.plans for chunk in plan.chunks] == [False, False, True]


@pytest.mark.parametrize(
    ("num_tokens", "room_tokens", "share"), [(600, 512, 300), (512, 512, 512), (2600, 512, 434), (1, 512, 1), (5, 0, 0)]
)
def test_equal_share(num_tokens: int, room_tokens: int, share: int) -> None:
    assert equal_share(num_tokens, room_tokens) == share


def test_prefill_first_stalls_decodes_while_prompts_wait() -> None:
    world = World(limits(token_budget=64), compose="prefill-first")
    world.add(request(1, 4, new_tokens=6))
    world.step()
    world.add(request(2, range(500, 540), new_tokens=2))
    assert [c.sequence_id for c in world.step().chunks] == [2]
    assert [c.is_decode for c in world.step().chunks] == [True, True]


def test_whole_prompt_never_cuts_a_prompt_that_fits_the_budget() -> None:
    world = World(limits(token_budget=64), compose="whole-prompt")
    world.add(request(1, 4, new_tokens=8), request(2, range(500, 560), new_tokens=2), request(3, range(600, 630)))
    world.run()
    assert chunk_sizes(world, 2)[0] == 60
    assert chunk_sizes(world, 3)[0] == 30


@pytest.mark.parametrize("compose", ["prefill-first", "whole-prompt"])
def test_a_prompt_longer_than_the_budget_still_runs(compose: str) -> None:
    world = World(limits(token_budget=16), compose=compose)
    world.add(request(1, 5, new_tokens=5), request(2, range(500, 550), new_tokens=3), request(3, range(700, 710)))
    world.run()
    assert len(world.tokens_of(2)) == 3
    assert max(plan.num_tokens for plan in world.plans) <= 16
