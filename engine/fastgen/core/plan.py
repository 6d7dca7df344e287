"""What a step will do (`StepPlan`) and what came of it (`StepOutput`).

A plan is data: made by `Scheduler.schedule()` without touching anything, carried out by the runner,
made true by `Scheduler.commit()`. Block ids are exact, so a plan can be printed, compared and replayed.
"""

from __future__ import annotations

from typing import NamedTuple


class Chunk(NamedTuple):
    """The tokens [start, start + num_tokens) of one sequence, computed in this step."""

    sequence_id: int
    start: int
    num_tokens: int
    new_blocks: tuple[int, ...]
    """Blocks taken in this step, appended to the sequence's own."""
    samples: bool
    """True where the chunk ends at the sequence's last token, so that a next token comes of it."""
    is_decode: bool


class Admission(NamedTuple):
    """A waiting sequence starts running, on top of blocks the prefix cache already holds."""

    sequence_id: int
    cached_blocks: tuple[int, ...]
    num_cached_tokens: int


class StepPlan(NamedTuple):
    """One step. `preempted` give their blocks back before anything else happens."""

    preempted: tuple[int, ...]
    admitted: tuple[Admission, ...]
    chunks: tuple[Chunk, ...]
    """Decodes first."""
    token_budget: int

    @property
    def num_tokens(self) -> int:
        return sum(chunk.num_tokens for chunk in self.chunks)


class Sample(NamedTuple):
    """The next token of one sequence."""

    sequence_id: int
    token_id: int
    logprob: float | None = None
    top_logprobs: tuple[tuple[int, float], ...] = ()
    """(token id, log-probability), likeliest first; empty unless asked for."""


class StepOutput(NamedTuple):
    """One `Sample` for each chunk whose `samples` is true, in the plan's order."""

    samples: tuple[Sample, ...]
