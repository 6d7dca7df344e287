"""Drive a scheduler without a model: a world in which a step computes nothing and any token may come."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fastgen.core.compositions import composition
from fastgen.core.events import Event, TokenEvent
from fastgen.core.plan import Sample, StepOutput, StepPlan
from fastgen.core.policies import queue_policy
from fastgen.core.sampling_params import SamplingParams
from fastgen.core.scheduler import Scheduler, SchedulerLimits
from fastgen.core.sequence import SequenceRequest

EOS = 1


def limits(**changes: int | bool) -> SchedulerLimits:
    """Small defaults that tests change where it matters."""
    values: dict[str, int | bool] = {
        "num_blocks": 64,
        "block_tokens": 4,
        "token_budget": 16,
        "max_sequences": 8,
        "max_model_tokens": 128,
        "max_queued_requests": 100,
        "prefix_cache": True,
        **changes,
    }
    return SchedulerLimits(**values)  # type: ignore[arg-type]


def request(sequence_id: int, prompt: Iterable[int] | int, new_tokens: int = 4, priority: int = 0) -> SequenceRequest:
    """A sequence of `prompt` tokens (ids, or how many) that asks for `new_tokens`."""
    tokens = tuple(range(100, 100 + prompt)) if isinstance(prompt, int) else tuple(prompt)
    params = SamplingParams(max_new_tokens=new_tokens, temperature=0.0)
    return SequenceRequest(sequence_id, tokens, params, seed=0, eos_token_ids=(EOS,), priority=priority)


class World:
    """A scheduler, a clock that ticks once a step, and every event so far."""

    def __init__(
        self,
        limits_: SchedulerLimits | None = None,
        compose: str = "splitfuse",
        policy: str = "fcfs",
        token: Callable[[int, int], int] = lambda sequence_id, position: 200 + (sequence_id * 31 + position) % 50,
    ) -> None:
        self.scheduler = Scheduler(limits_ or limits(), composition(compose), queue_policy(policy))
        self.now = 0.0
        self.events: list[Event] = []
        self.plans: list[StepPlan] = []
        self._token = token

    def add(self, *requests: SequenceRequest) -> None:
        for one in requests:
            self.now += 0.001
            self.scheduler.add(one, self.now)

    def step(self) -> StepPlan:
        """Schedule, pretend to execute, commit, and check every invariant."""
        self.now += 1.0
        plan = self.scheduler.schedule(self.now)
        assert plan == self.scheduler.schedule(self.now), "schedule() is not pure"
        samples = []
        for chunk in plan.chunks:
            if chunk.samples:
                position = self.scheduler.sequences[chunk.sequence_id].num_tokens
                samples.append(Sample(chunk.sequence_id, self._token(chunk.sequence_id, position)))
        self.events += self.scheduler.commit(plan, StepOutput(tuple(samples)), self.now)
        self.scheduler.check_integrity()
        self.plans.append(plan)
        return plan

    def run(self, most_steps: int = 10_000) -> None:
        """Step until nothing is left to do."""
        for _ in range(most_steps):
            if not self.scheduler.has_work:
                return
            assert self.step().chunks, "a step with work to do did nothing"
        raise AssertionError(f"still working after {most_steps} steps")

    def tokens_of(self, sequence_id: int) -> list[int]:
        return [
            e.token_id
            for e in self.events
            if isinstance(e, TokenEvent) and e.sequence_id == sequence_id and e.token_id is not None
        ]
