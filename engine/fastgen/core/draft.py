"""A step being drawn up: what a composition may do to fill it, and the bookkeeping that keeps it honest.

The draft knows the tokens and blocks that are left, reserves blocks, and decides who is preempted when
they run out. It changes nothing outside itself; `finish` turns it into a frozen `StepPlan`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from fastgen.core.block_pool import BlockPool, PoolDraft
from fastgen.core.plan import Admission, Chunk, StepPlan
from fastgen.core.sequence import RunningSequence


@dataclass(slots=True)
class _Work:
    """What one sequence gets in this step."""

    sequence: RunningSequence
    start: int
    num_tokens: int
    new_blocks: tuple[int, ...] = ()
    is_decode: bool = False


@dataclass(slots=True)
class StepDraft:
    """`running` and `waiting` come in the queue policy's order, best first."""

    pool: BlockPool
    block_tokens: int
    token_budget: int
    max_sequences: int
    running: Sequence[RunningSequence]
    waiting: Sequence[RunningSequence]
    use_prefix_cache: bool
    budget_left: int = field(init=False)
    _blocks: PoolDraft = field(init=False)
    _work: dict[int, _Work] = field(default_factory=dict)
    _admitted: list[Admission] = field(default_factory=list)
    _preempted: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.budget_left = self.token_budget
        self._blocks = PoolDraft(self.pool)

    @property
    def is_empty(self) -> bool:
        return not self._work

    def missing_tokens(self, sequence: RunningSequence) -> int:
        """Tokens of `sequence` still to be computed after what this draft gives it."""
        work = self._work.get(sequence.sequence_id)
        done = sequence.num_computed_tokens if work is None else work.start + work.num_tokens
        return sequence.num_tokens - done

    def decodes(self) -> list[RunningSequence]:
        """Running sequences that are one token behind."""
        return [s for s in self.running if s.num_missing_tokens == 1]

    def prompts(self, *, whole: bool = False) -> Iterator[RunningSequence]:
        """Prompt work in order: what is running first, then waiting sequences, each admitted when reached.

        Ends when the next waiting sequence cannot be admitted: nobody overtakes it. With `whole`, it also
        ends before a prompt that would have to be cut; one longer than the whole budget starts an empty step.
        """
        for sequence in self.running:
            if sequence.num_missing_tokens > 1 and sequence.sequence_id not in self._preempted:
                yield sequence
        for sequence in self.waiting:
            if self.budget_left == 0 or not self._admit(sequence, whole):
                return
            yield sequence

    def decode(self, sequence: RunningSequence) -> None:
        """Give a running sequence its one token, preempting from the back of the order if blocks run out."""
        if self.budget_left == 0 or sequence.sequence_id in self._preempted:
            return
        needed = self._num_blocks(sequence.num_tokens) - len(sequence.blocks)
        while self._blocks.num_free < needed:
            victim = self._last_running()
            self._preempted.append(victim.sequence_id)
            self._blocks.release(victim.blocks)
            if victim is sequence:
                return
        new_blocks = self._blocks.take(needed)
        start = sequence.num_computed_tokens
        self._work[sequence.sequence_id] = _Work(sequence, start, 1, new_blocks, is_decode=True)
        self.budget_left -= 1

    def chunk(self, sequence: RunningSequence, num_tokens: int) -> None:
        """Give a prompt `num_tokens` more tokens, as far as it and the budget reach. Its blocks are reserved."""
        num_tokens = min(num_tokens, self.missing_tokens(sequence), self.budget_left)
        if num_tokens <= 0:
            return
        work = self._work.setdefault(sequence.sequence_id, _Work(sequence, sequence.num_computed_tokens, num_tokens=0))
        work.num_tokens += num_tokens
        self.budget_left -= num_tokens

    def finish(self) -> StepPlan:
        """The plan: decodes first, then prompts in the order they were given tokens."""
        ordered = sorted(self._work.values(), key=lambda work: not work.is_decode)
        chunks = tuple(
            Chunk(
                sequence_id=work.sequence.sequence_id,
                start=work.start,
                num_tokens=work.num_tokens,
                new_blocks=work.new_blocks,
                samples=work.start + work.num_tokens == work.sequence.num_tokens,
                is_decode=work.is_decode,
            )
            for work in ordered
            if work.num_tokens
        )
        return StepPlan(tuple(self._preempted), tuple(self._admitted), chunks, self.token_budget)

    def _admit(self, sequence: RunningSequence, whole: bool) -> bool:
        """Start a waiting sequence: share what the cache holds and reserve blocks for its whole prompt."""
        cached = self._cached_blocks(sequence)
        num_cached_tokens = len(cached) * self.block_tokens
        missing_tokens = sequence.num_tokens - num_cached_tokens
        if whole and self.budget_left < min(missing_tokens, self.token_budget):
            return False
        if not self._fits(sequence, cached):
            return False
        self._blocks.share(cached)
        new_blocks = self._blocks.take(self._num_blocks(sequence.num_tokens) - len(cached))
        self._admitted.append(Admission(sequence.sequence_id, tuple(cached), num_cached_tokens))
        self._work[sequence.sequence_id] = _Work(sequence, num_cached_tokens, 0, new_blocks)
        return True

    def _fits(self, sequence: RunningSequence, cached: Sequence[int]) -> bool:
        # Whoever was just preempted needs the blocks more than a newcomer: no admissions in such a step.
        if self._preempted or len(self.running) + len(self._admitted) >= self.max_sequences:
            return False
        needed = self._blocks.num_blank_needed(cached, self._num_blocks(sequence.num_tokens))
        return needed <= self._blocks.num_free

    def _cached_blocks(self, sequence: RunningSequence) -> list[int]:
        if not self.use_prefix_cache:
            return []
        # The last token is always computed: its logits are what the step is for.
        usable = (sequence.num_tokens - 1) // self.block_tokens
        return self._blocks.find(sequence.block_hashes[:usable])

    def _last_running(self) -> RunningSequence:
        return next(s for s in reversed(self.running) if s.sequence_id not in self._preempted)

    def _num_blocks(self, num_tokens: int) -> int:
        return -(-num_tokens // self.block_tokens)
