"""What is known about one request after it ended, before any arithmetic."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field


@dataclass(slots=True)
class RequestRecord:
    """Times are seconds since the measurement began.

        due            sent      chunk_seconds[0]   [1]  [2]          ended
         |--send delay--|--------------|-------------|----|-------------|
         |------------ TTFT -----------|     gaps    |
         |--------------------------- E2EL ------------------------------|

    In a closed loop a request is due when its client is free, so due and sent are one moment. In an open
    loop it is due when the arrival process says so: measuring from there keeps a late generator, or a
    server that makes it late, from hiding waiting time ("coordinated omission").
    """

    index: int
    due_seconds: float
    sent_seconds: float
    ended_seconds: float = 0.0
    chunk_seconds: list[float] = field(default_factory=list)
    """When each piece of the answer came. Empty where the answer was not streamed."""
    chunk_tokens: list[int] = field(default_factory=list)
    """Tokens in each piece: one, unless the server says otherwise."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    finish_reason: str | None = None
    error: str | None = None
    server_effective: bool | None = None
    """The server's own receipt (usage.sla.effective), where it gives one."""

    @property
    def ok(self) -> bool:
        return self.error is None

    @property
    def latency_seconds(self) -> float:
        return self.ended_seconds - self.due_seconds

    @property
    def send_delay_seconds(self) -> float:
        return self.sent_seconds - self.due_seconds

    @property
    def first_token_seconds(self) -> float | None:
        return self.chunk_seconds[0] - self.due_seconds if self.chunk_seconds else None

    @property
    def gaps_seconds(self) -> list[float]:
        """Between pieces, as they came; a piece may hold several tokens."""
        return [later - earlier for earlier, later in itertools.pairwise(self.chunk_seconds)]

    @property
    def token_seconds(self) -> list[float]:
        """When each token came: those of one piece come together."""
        return [when for when, count in zip(self.chunk_seconds, self.chunk_tokens, strict=True) for _ in range(count)]

    @property
    def seconds_per_output_token(self) -> float | None:
        """vLLM's TPOT: (latency - TTFT) / (tokens - 1); None for answers of one token."""
        first = self.first_token_seconds
        if first is None or self.completion_tokens <= 1:
            return None
        return (self.latency_seconds - first) / (self.completion_tokens - 1)


def spread_tokens(total: int, chunk_tokens: list[int]) -> list[int]:
    """Tokens per piece when the server told only the sum: the surplus is shared out evenly.

    A tokenizer that waits for the rest of a multi-byte character sends fewer pieces than tokens. Where
    there are more pieces than tokens (an end-of-sequence piece, say), one each is kept.
    """
    pieces = len(chunk_tokens)
    if not pieces or total <= pieces:
        return chunk_tokens
    return [(i + 1) * total // pieces - i * total // pieces for i in range(pieces)]
