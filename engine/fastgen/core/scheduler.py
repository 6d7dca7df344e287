"""Who gets which tokens in the next step, and what is true once it has run.

`schedule` decides and changes nothing; `commit` has all the effects. Between the two a plan can be
printed, compared, replayed or dropped: dropping one (a step that ran out of memory) loses nothing.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass

from fastgen.core.block_pool import BlockPool, extend_hashes
from fastgen.core.compositions import Composition
from fastgen.core.draft import StepDraft
from fastgen.core.events import Event, FinishReason, SequenceTiming, TokenEvent
from fastgen.core.plan import Sample, StepOutput, StepPlan
from fastgen.core.policies import QueuePolicy
from fastgen.core.sequence import RunningSequence, SequenceRequest
from fastgen.errors import InvalidRequestError, OverloadedError, TooLongError


@dataclass(frozen=True, kw_only=True)
class SchedulerLimits:
    """The sizes a scheduler works within."""

    num_blocks: int
    block_tokens: int
    token_budget: int
    max_sequences: int
    max_model_tokens: int
    max_queued_requests: int
    prefix_cache: bool = True


@dataclass(slots=True)
class PrefixCounts:
    """Prompt tokens looked up in the prefix cache, and found there, since the start."""

    query_tokens: int = 0
    hit_tokens: int = 0


class Scheduler:
    """Holds every live sequence, waiting or running, and the blocks of those that run."""

    def __init__(self, limits: SchedulerLimits, composition: Composition, policy: QueuePolicy) -> None:
        self.limits = limits
        self.composition = composition
        self.policy = policy
        self.pool = BlockPool(limits.num_blocks)
        self.prefix_counts = PrefixCounts()
        self.num_preemptions = 0
        self._waiting: dict[int, RunningSequence] = {}
        self._running: dict[int, RunningSequence] = {}

    @property
    def sequences(self) -> Mapping[int, RunningSequence]:
        """Every live sequence by id."""
        return ChainMap(self._running, self._waiting)

    @property
    def num_running(self) -> int:
        return len(self._running)

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    @property
    def has_work(self) -> bool:
        return bool(self._running or self._waiting)

    def num_missing_tokens(self) -> int:
        """Tokens not yet computed of everything queued or running: the work ahead."""
        live = (*self._running.values(), *self._waiting.values())
        return sum(sequence.num_missing_tokens for sequence in live)

    def add(self, request: SequenceRequest, now_seconds: float) -> None:
        """Queue a sequence.

        Raises TooLongError for what can never fit, InvalidRequestError for an empty prompt, OverloadedError
        when the queue is full. Nothing that is accepted here can deadlock: alone, it fits.
        """
        max_tokens = self._settle_max_tokens(request)
        if len(self._waiting) >= self.limits.max_queued_requests:
            raise OverloadedError(
                f"{len(self._waiting)} requests are waiting already, the most this engine queues "
                f"(max_queued_requests={self.limits.max_queued_requests}); try again later"
            )
        sequence = RunningSequence(request, arrival_seconds=now_seconds, max_tokens=max_tokens)
        self._extend_hashes(sequence)
        self._waiting[request.sequence_id] = sequence

    def remove(self, sequence_id: int) -> RunningSequence | None:
        """Take a sequence out, whatever its state; its blocks are free at once. None if it is not here."""
        sequence = self._waiting.pop(sequence_id, None) or self._running.pop(sequence_id, None)
        if sequence is not None:
            self._release(sequence)
        return sequence

    def schedule(self, now_seconds: float) -> StepPlan:
        """The next step. Pure: asking twice gives the same plan."""
        limits = self.limits
        draft = StepDraft(
            pool=self.pool,
            block_tokens=limits.block_tokens,
            token_budget=limits.token_budget,
            max_sequences=limits.max_sequences,
            running=self._ordered(self._running, now_seconds),
            waiting=self._ordered(self._waiting, now_seconds),
            use_prefix_cache=limits.prefix_cache,
        )
        self.composition.compose(draft)
        return draft.finish()

    def commit(self, plan: StepPlan, output: StepOutput, now_seconds: float) -> list[Event]:
        """Make the step true: blocks change hands, tokens are appended, finished sequences leave."""
        self._apply_preemptions(plan)
        self._apply_admissions(plan, now_seconds)
        for chunk in plan.chunks:
            sequence = self._running[chunk.sequence_id]
            for block in chunk.new_blocks:
                self.pool.take(block)
            sequence.blocks.extend(chunk.new_blocks)
            sequence.num_computed_tokens = chunk.start + chunk.num_tokens
            self._remember_full_blocks(sequence, chunk.start)
            self.policy.served(sequence, chunk.num_tokens)
        return [self._append(sample, now_seconds) for sample in output.samples]

    def check_integrity(self) -> None:
        """Raise AssertionError if any invariant is broken. For tests and idle moments."""
        self.pool.check_integrity(s.blocks for s in self._running.values())
        assert not self._running.keys() & self._waiting.keys(), "a sequence both waits and runs"
        assert len(self._running) <= self.limits.max_sequences
        for sequence in self._running.values():
            assert 0 <= sequence.num_computed_tokens < sequence.num_tokens <= sequence.max_tokens
            assert len(sequence.blocks) * self.limits.block_tokens >= sequence.num_computed_tokens
        for sequence in self._waiting.values():
            assert not sequence.blocks, f"waiting sequence {sequence.sequence_id} holds blocks"
            assert sequence.num_computed_tokens == 0

    def _settle_max_tokens(self, request: SequenceRequest) -> int:
        num_prompt_tokens = len(request.prompt_token_ids)
        if num_prompt_tokens == 0:
            raise InvalidRequestError("the prompt is empty; it must hold at least one token", param="prompt")
        kv_tokens = self.limits.num_blocks * self.limits.block_tokens
        limit, what = min(
            (self.limits.max_model_tokens, "the model's context"),
            (kv_tokens, f"the KV cache ({self.limits.num_blocks} blocks of {self.limits.block_tokens} tokens)"),
        )
        wanted = request.params.max_new_tokens
        if num_prompt_tokens + (wanted or 1) > limit:
            answer = f"{wanted} new tokens" if wanted else "at least 1 new token"
            raise TooLongError(
                f"a prompt of {num_prompt_tokens} tokens and {answer} need {num_prompt_tokens + (wanted or 1)}, "
                f"but {what} holds {limit}; shorten the prompt or ask for fewer new tokens",
                param="prompt" if num_prompt_tokens >= limit else "max_new_tokens",
            )
        return limit if wanted is None else num_prompt_tokens + wanted

    def _ordered(self, group: Mapping[int, RunningSequence], now_seconds: float) -> list[RunningSequence]:
        return sorted(group.values(), key=lambda sequence: self.policy.key(sequence, now_seconds))

    def _apply_preemptions(self, plan: StepPlan) -> None:
        for sequence_id in plan.preempted:
            sequence = self._running.pop(sequence_id)
            self._release(sequence)
            sequence.num_computed_tokens = 0
            sequence.num_preemptions += 1
            self.num_preemptions += 1
            self._waiting[sequence_id] = sequence

    def _apply_admissions(self, plan: StepPlan, now_seconds: float) -> None:
        for admission in plan.admitted:
            sequence = self._waiting.pop(admission.sequence_id)
            for block in admission.cached_blocks:
                self.pool.share(block)
            sequence.blocks = list(admission.cached_blocks)
            sequence.num_computed_tokens = admission.num_cached_tokens
            self.prefix_counts.query_tokens += sequence.num_tokens
            self.prefix_counts.hit_tokens += admission.num_cached_tokens
            if sequence.first_scheduled_seconds is None:
                sequence.first_scheduled_seconds = now_seconds
                sequence.num_cached_tokens = admission.num_cached_tokens
            self._running[admission.sequence_id] = sequence

    def _append(self, sample: Sample, now_seconds: float) -> TokenEvent:
        sequence = self._running[sample.sequence_id]
        sequence.token_ids.append(sample.token_id)
        self._extend_hashes(sequence)
        if sequence.first_token_seconds is None:
            sequence.first_token_seconds = now_seconds
        finish = finish_reason(sequence, sample.token_id)
        if finish is not None:
            self._release(self._running.pop(sequence.sequence_id))
        timing = timing_of(sequence, now_seconds) if finish else None
        return TokenEvent(*sample, finish=finish, timing=timing)

    def _release(self, sequence: RunningSequence) -> None:
        self.pool.release(sequence.blocks)
        sequence.blocks = []

    def _extend_hashes(self, sequence: RunningSequence) -> None:
        if self.limits.prefix_cache:
            extend_hashes(sequence.block_hashes, sequence.token_ids, self.limits.block_tokens)

    def _remember_full_blocks(self, sequence: RunningSequence, start: int) -> None:
        if self.limits.prefix_cache:
            block_tokens = self.limits.block_tokens
            for index in range(start // block_tokens, sequence.num_computed_tokens // block_tokens):
                self.pool.remember(sequence.blocks[index], sequence.block_hashes[index])


def finish_reason(sequence: RunningSequence, token_id: int) -> FinishReason | None:
    """Why the sequence ends with the token just appended, or None where it goes on."""
    params = sequence.request.params
    if sequence.num_generated_tokens >= params.min_new_tokens:
        if token_id in params.stop_token_ids:
            return "stop"
        if not params.ignore_eos and token_id in sequence.request.eos_token_ids:
            return "stop"
    return "length" if sequence.num_tokens >= sequence.max_tokens else None


def timing_of(sequence: RunningSequence, now_seconds: float) -> SequenceTiming:
    """Where a sequence's time went, as of now."""
    arrival = sequence.arrival_seconds
    scheduled = now_seconds if sequence.first_scheduled_seconds is None else sequence.first_scheduled_seconds
    first_token = now_seconds if sequence.first_token_seconds is None else sequence.first_token_seconds
    return SequenceTiming(
        queued_seconds=scheduled - arrival,
        first_token_seconds=first_token - arrival,
        total_seconds=now_seconds - arrival,
        num_cached_tokens=sequence.num_cached_tokens,
        num_preemptions=sequence.num_preemptions,
    )
