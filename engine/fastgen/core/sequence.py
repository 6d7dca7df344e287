"""One sequence: a prompt, what has been generated so far, and how far computation has caught up.

    0              num_computed_tokens        num_tokens
    |---- in the KV cache ----|---- still to do ----|
    |-------- prompt --------------|-- generated ---|

There are no phases. A decode is the case where exactly one token is still to do; a new request, a cut
prompt and a preempted sequence are the case where more is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from fastgen.core.sampling_params import SamplingParams


class SequenceRequest(NamedTuple):
    """What a front end asks of the engine: one sequence, tokenized and validated in shape.

    A user's request with n choices is n of these.
    """

    sequence_id: int
    prompt_token_ids: tuple[int, ...]
    params: SamplingParams
    seed: int
    """Resolved: never none. The token at position p is a function of (logits, seed, p) alone."""
    eos_token_ids: tuple[int, ...] = ()
    priority: int = 0
    tenant: str = ""


@dataclass(slots=True, eq=False)
class RunningSequence:
    """The engine's own record of a sequence. Only `Scheduler.commit` and its helpers change it."""

    request: SequenceRequest
    arrival_seconds: float
    max_tokens: int
    """Prompt plus answer may not exceed this; settled at admission."""

    token_ids: list[int] = field(default_factory=list)
    num_computed_tokens: int = 0
    blocks: list[int] = field(default_factory=list)
    """Block ids, in order: token i lives in blocks[i // block_tokens]."""

    block_hashes: list[bytes] = field(default_factory=list)
    """Chain of hashes of the full blocks of token_ids computed so far; the prefix cache's keys."""

    num_cached_tokens: int = 0
    """Prompt tokens that came from the prefix cache at first admission."""

    num_preemptions: int = 0
    first_scheduled_seconds: float | None = None
    first_token_seconds: float | None = None

    def __post_init__(self) -> None:
        if not self.token_ids:
            self.token_ids = list(self.request.prompt_token_ids)

    @property
    def sequence_id(self) -> int:
        return self.request.sequence_id

    @property
    def num_tokens(self) -> int:
        return len(self.token_ids)

    @property
    def num_prompt_tokens(self) -> int:
        return len(self.request.prompt_token_ids)

    @property
    def num_generated_tokens(self) -> int:
        return len(self.token_ids) - len(self.request.prompt_token_ids)

    @property
    def num_missing_tokens(self) -> int:
        """Tokens not yet in the KV cache; 1 for a decode."""
        return len(self.token_ids) - self.num_computed_tokens
