"""What holds for every load anyone can think of, or rather hypothesis can."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from scheduling import World, limits, request

from fastgen.core.draft import StepDraft
from fastgen.core.events import TokenEvent
from fastgen.core.plan import StepPlan
from fastgen.core.sequence import SequenceRequest

SIZES = st.fixed_dictionaries(
    {
        "num_blocks": st.integers(12, 40),
        "block_tokens": st.sampled_from([1, 2, 4, 8]),
        "token_budget": st.integers(1, 40),
        "max_sequences": st.integers(1, 8),
        "prefix_cache": st.booleans(),
    }
)
# Few distinct tokens and a shared stem, so that prompts begin alike and blocks are shared.
PROMPTS = st.tuples(st.integers(0, 10), st.lists(st.integers(0, 1), max_size=12)).map(
    lambda p: [7] * p[0] + p[1] or [7]
)
REQUESTS = st.lists(st.tuples(PROMPTS, st.integers(1, 12), st.integers(0, 2)), min_size=1, max_size=12)
ORDERS = st.lists(st.sampled_from(["add", "step", "step", "remove"]), max_size=40)


def load(requests: list[Any], capacity_tokens: int) -> list[SequenceRequest]:
    return [
        request(index, prompt, new_tokens, priority)
        for index, (prompt, new_tokens, priority) in enumerate(requests)
        if len(prompt) + new_tokens <= capacity_tokens
    ]


def play(world: World, requests: list[SequenceRequest], order: list[str]) -> set[int]:
    """Add, step and remove in this order, then run to the end. The ids that were removed while alive."""
    pending, removed = list(requests), set()
    for action in order:
        if action == "add" and pending:
            world.add(pending.pop(0))
        elif action == "step" and world.scheduler.has_work:
            world.step()
        elif action == "remove" and world.scheduler.sequences:
            victim = min(world.scheduler.sequences)
            world.scheduler.remove(victim)
            world.scheduler.check_integrity()
            removed.add(victim)
    world.add(*pending)
    world.run()
    return removed


@given(SIZES, REQUESTS, ORDERS, st.sampled_from(["splitfuse", "prefill-first", "whole-prompt"]), st.booleans())
@settings(max_examples=200, deadline=None)
def test_every_sequence_ends_once_and_no_block_is_lost(
    sizes: dict[str, Any], requests: list[Any], order: list[str], compose: str, by_priority: bool
) -> None:
    capacity = min(128, sizes["num_blocks"] * sizes["block_tokens"])
    world = World(limits(**sizes), compose=compose, policy="priority" if by_priority else "fcfs")
    wanted = load(requests, capacity)
    removed = play(world, wanted, order)
    ended = Counter(e.sequence_id for e in world.events if isinstance(e, TokenEvent) and e.finish)
    assert ended == Counter(r.sequence_id for r in wanted if r.sequence_id not in removed)
    assert world.scheduler.pool.num_held == 0
    assert all(plan.num_tokens <= sizes["token_budget"] for plan in world.plans)
    for one in wanted:
        positions = range(len(one.prompt_token_ids), len(one.prompt_token_ids) + len(world.tokens_of(one.sequence_id)))
        assert world.tokens_of(one.sequence_id) == [200 + (one.sequence_id * 31 + p) % 50 for p in positions]


@given(SIZES, REQUESTS, ORDERS)
@settings(max_examples=200, deadline=None)
def test_splitfuse_never_skips_a_decode_nor_leaves_budget_unfilled(
    sizes: dict[str, Any], requests: list[Any], order: list[str]
) -> None:
    capacity = min(128, sizes["num_blocks"] * sizes["block_tokens"])
    world = CheckedWorld(limits(**sizes))
    play(world, load(requests, capacity), order)


class CheckedWorld(World):
    """Looks at each plan before it is committed, as someone who only knows the rules."""

    def step(self) -> StepPlan:
        scheduler = self.scheduler
        plan = scheduler.schedule(self.now + 1.0)
        given_tokens = {chunk.sequence_id: chunk.num_tokens for chunk in plan.chunks}
        running = [s for s in scheduler.sequences.values() if s.blocks]
        decodes = [s for s in running if s.num_missing_tokens == 1]
        if not plan.preempted and len(decodes) <= plan.token_budget:
            assert all(given_tokens.get(s.sequence_id) == 1 for s in decodes), "a decode was skipped"
        if plan.num_tokens < plan.token_budget:
            self._assert_no_prompt_work_could_be_added(plan, given_tokens)
        return super().step()

    def _assert_no_prompt_work_could_be_added(self, plan: StepPlan, given_tokens: dict[int, int]) -> None:
        scheduler = self.scheduler
        cached = {a.sequence_id: a.num_cached_tokens for a in plan.admitted}
        for sequence_id, sequence in scheduler.sequences.items():
            if sequence_id in plan.preempted or not (sequence.blocks or sequence_id in cached):
                continue
            missing = sequence.num_missing_tokens - cached.get(sequence_id, 0)
            assert given_tokens.get(sequence_id, 0) == missing, "prompt work waits in a step below its budget"
        waiting = [s for s in scheduler.sequences.values() if not s.blocks and s.sequence_id not in cached]
        if waiting and not plan.preempted:
            first = min(waiting, key=lambda s: scheduler.policy.key(s, self.now))
            self._assert_blocks_ran_out(plan, first.num_tokens, len(cached))

    def _assert_blocks_ran_out(self, plan: StepPlan, num_tokens: int, num_admitted: int) -> None:
        scheduler, sizes = self.scheduler, self.scheduler.limits
        taken = {block for chunk in plan.chunks for block in chunk.new_blocks}
        shared = {block for admission in plan.admitted for block in admission.cached_blocks}
        free = sum(1 for block in scheduler.pool.free_blocks() if block not in taken | shared)
        slots_left = sizes.max_sequences - scheduler.num_running - num_admitted
        blocks_needed = -(-num_tokens // sizes.block_tokens)
        assert slots_left == 0 or free < blocks_needed, "a waiting prompt could have been started"


def test_the_checks_above_can_fail() -> None:
    """A composition that stops one token short of the budget is caught."""

    class Lazy:
        name = "lazy"
        wants_whole_prompts = False

        def compose(self, draft: StepDraft) -> None:
            for sequence in draft.prompts():
                draft.chunk(sequence, draft.budget_left - 1)
                return

    world = CheckedWorld(limits())
    world.scheduler.composition = Lazy()
    world.add(request(1, 40))
    try:
        world.step()
    except AssertionError as error:
        assert "below its budget" in str(error)  # noqa: PT017
    else:
        raise RuntimeError("an unfilled budget went unnoticed")
