"""The loop: schedule -> execute -> commit.

`Engine` is synchronous and knows no clients, sockets or text. Two drive it: `fastgen.pipelines` in the
caller's process, and `fastgen.process.worker` in one of its own.
"""

from __future__ import annotations

import logging
import time

from fastgen.config import EngineConfig, EngineInfo
from fastgen.core.compositions import composition
from fastgen.core.events import Event, SequenceFailed, SequenceTiming, StepStats, TokenEvent
from fastgen.core.plan import StepPlan
from fastgen.core.policies import queue_policy
from fastgen.core.scheduler import Scheduler, SchedulerLimits, timing_of
from fastgen.core.sequence import SequenceRequest
from fastgen.errors import InvalidRequestError, OutOfMemoryError
from fastgen.runtime.budget import TokenBudget, measured_budget
from fastgen.runtime.runner import Runner

logger = logging.getLogger(__name__)


class Engine:
    """One model on one device, and every sequence it is working on.

    Raises ModelError or UsageError when it cannot be made; see `EngineConfig`.
    """

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        self._composition = composition(config.composition)
        policy = queue_policy(config.queue_policy)
        self._runner = Runner.load(config)
        budget = self._settle_budget()
        limits = SchedulerLimits(
            num_blocks=self._runner.num_blocks,
            block_tokens=config.block_tokens,
            token_budget=budget.num_tokens,
            max_sequences=config.max_sequences,
            max_model_tokens=self._runner.max_model_tokens,
            max_queued_requests=config.max_queued_requests,
            prefix_cache=config.prefix_cache and self._runner.shares_prefixes,
        )
        self.scheduler = Scheduler(limits, self._composition, policy)
        self.info = self._describe(budget)
        self._ended: list[Event] = []
        self._last_step = _StepRecord()

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """What ends an answer, as the model's generation_config (else config) says."""
        return self._runner.eos_token_ids

    def submit(self, request: SequenceRequest) -> None:
        """Queue a sequence. Raises InvalidRequestError, TooLongError or OverloadedError, all with the numbers."""
        for token_id in request.prompt_token_ids:
            if not 0 <= token_id < self.info.vocab_size:
                raise InvalidRequestError(
                    f"token id {token_id} is outside the vocabulary (0 to {self.info.vocab_size - 1})",
                    param="prompt",
                )
        self.scheduler.add(request, time.monotonic())

    def cancel(self, sequence_id: int) -> SequenceTiming | None:
        """End a sequence now; its blocks are free for the very next step, which also tells its end.

        Returns how long it lived, or None for an id that has ended already.
        """
        sequence = self.scheduler.remove(sequence_id)
        if sequence is None:
            return None
        timing = timing_of(sequence, time.monotonic())
        self._ended.append(TokenEvent(sequence_id, None, finish="cancelled", timing=timing))
        return timing

    def has_work(self) -> bool:
        """True while a step would do or tell something."""
        return self.scheduler.has_work or bool(self._ended)

    def step(self) -> list[Event]:
        """One step; what it brought, and what was cancelled since the last."""
        events, self._ended = self._ended, []
        if not self.scheduler.has_work:
            self._last_step = _StepRecord()
            return events
        started = time.monotonic()
        plan = self.scheduler.schedule(started)
        if not plan.chunks:
            raise RuntimeError(f"nothing can be scheduled for {len(self.scheduler.sequences)} live sequences")
        try:
            output = self._runner.execute(plan, self.scheduler.sequences)
        except OutOfMemoryError as error:
            return [*events, self._give_up_one(plan, error)]
        events += self.scheduler.commit(plan, output, time.monotonic())
        self._last_step = _StepRecord(plan, time.monotonic() - started)
        return events

    def stats(self) -> StepStats:
        """The state after the last step."""
        scheduler, last = self.scheduler, self._last_step
        return StepStats(
            num_running=scheduler.num_running,
            num_waiting=scheduler.num_waiting,
            waiting_tokens=scheduler.num_missing_tokens(),
            kv_used_blocks=scheduler.pool.num_held,
            kv_total_blocks=scheduler.pool.num_blocks,
            step_tokens=last.plan.num_tokens,
            step_decode_tokens=sum(1 for chunk in last.plan.chunks if chunk.is_decode),
            token_budget=self.info.token_budget,
            step_seconds=last.seconds,
            num_preempted=scheduler.num_preemptions,
            prefix_query_tokens=scheduler.prefix_counts.query_tokens,
            prefix_hit_tokens=scheduler.prefix_counts.hit_tokens,
        )

    def close(self) -> None:
        """Give the device memory back."""
        self._runner.close()

    def _give_up_one(self, plan: StepPlan, error: OutOfMemoryError) -> Event:
        """A step did not fit into memory: the newest sequence of it ends with the error, the others go on."""
        newest = plan.chunks[-1].sequence_id
        self.scheduler.remove(newest)
        logger.error("step of %d tokens: %s", plan.num_tokens, error.message)
        return SequenceFailed(newest, error.code, error.message)

    def _settle_budget(self) -> TokenBudget:
        config, runner = self.config, self._runner
        if config.token_budget is not None:
            return TokenBudget(config.token_budget, "set by hand", 0.0)
        longest = runner.max_model_tokens
        cache_file = runner.measurement_file("step-time")

        def run_step(num_tokens: int) -> None:
            runner.forward_dummy(num_tokens, num_sequences=1)

        measured = measured_budget(run_step, longest, 1 / config.promise_tokens_per_second, cache_file)
        if self._composition.wants_whole_prompts:
            reason = f"the context length: {config.composition} does not cut prompts"
            return TokenBudget(longest, reason, measured.capacity_tokens_per_second)
        return measured

    def _describe(self, budget: TokenBudget) -> EngineInfo:
        config, runner = self.config, self._runner
        return EngineInfo(
            model=config.model,
            architecture=runner.architecture,
            device=str(runner.device),
            dtype=str(runner.dtype).removeprefix("torch."),
            attention=runner.attention_name,
            composition=config.composition,
            queue_policy=config.queue_policy,
            token_budget=budget.num_tokens,
            token_budget_reason=budget.reason,
            max_sequences=config.max_sequences,
            max_model_tokens=runner.max_model_tokens,
            block_tokens=config.block_tokens,
            num_blocks=runner.num_blocks,
            kv_bytes=runner.kv_bytes,
            weight_bytes=runner.weight_bytes,
            vocab_size=runner.vocab_size,
            capacity_tokens_per_second=budget.capacity_tokens_per_second,
        )


class _StepRecord:
    """What the last step was, for `stats`."""

    def __init__(self, plan: StepPlan | None = None, seconds: float = 0.0) -> None:
        self.plan = plan or StepPlan((), (), (), 0)
        self.seconds = seconds
