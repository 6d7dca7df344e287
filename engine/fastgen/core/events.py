"""What the engine tells a front end about a sequence. Every admitted sequence ends with exactly one
event whose `finish` is set, or with one `SequenceFailed`."""

from __future__ import annotations

from typing import Literal, NamedTuple

FinishReason = Literal["stop", "length", "cancelled"]


class SequenceTiming(NamedTuple):
    """Where the time of a finished sequence went, in seconds since it arrived at the engine."""

    queued_seconds: float
    first_token_seconds: float
    total_seconds: float
    num_cached_tokens: int
    num_preemptions: int


class TokenEvent(NamedTuple):
    """A new token, and the end of the sequence if it was the last.

    `token_id` is None only where a sequence is cancelled: then nothing new came.
    """

    sequence_id: int
    token_id: int | None
    logprob: float | None = None
    top_logprobs: tuple[tuple[int, float], ...] = ()
    finish: FinishReason | None = None
    timing: SequenceTiming | None = None
    """Set with `finish`."""


class SequenceFailed(NamedTuple):
    """The sequence ends with an error; `code` names a `RequestError` (fastgen.errors.REQUEST_ERRORS)."""

    sequence_id: int
    code: str
    message: str
    param: str | None = None
    """The field of the request that is to blame, where there is one."""


Event = TokenEvent | SequenceFailed


class StepStats(NamedTuple):
    """The state of the engine after a step, for metrics, the live view and load balancing."""

    num_running: int
    num_waiting: int
    waiting_tokens: int
    """Tokens not yet computed of everything queued or running: the work ahead."""
    kv_used_blocks: int
    kv_total_blocks: int
    step_tokens: int
    step_decode_tokens: int
    token_budget: int
    step_seconds: float
    num_preempted: int
    """Preemptions since the engine started; the two below count from there too."""
    prefix_query_tokens: int
    """Prompt tokens looked up in the prefix cache."""
    prefix_hit_tokens: int
    """Prompt tokens found there."""
