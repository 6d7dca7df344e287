"""The latency promise and its arithmetic: when a request counts as *effective*.

The one owner of the rule published with DeepSpeed-FastGen (arXiv 2401.08671, section 4.3); the server's
receipts and counters, the load generator and the simulator all call it. A request is effective if both hold:

    prompt       time to the first token   <=  prompt_tokens / prompt_tokens_per_second
    generation   ema_t                     <   1 / generation_tokens_per_second       for every t

    sent         first token      g_1      g_2         g_3
     |----------------|------------|--------|-----------|----> time
      time to first      gaps between the tokens after it

with ema_t the exponential moving average of the gaps so far, of span 16 and adjusted for its start, as
`pandas.Series(gaps).ewm(span=16).mean()` computes it:

    ema_t = sum_i (1 - a)^i * g_(t-i)  /  sum_i (1 - a)^i          a = 2 / (16 + 1)

So the first gap alone must already pass, and an answer of one token passes on its prompt alone.
An answer without any token (rejected, failed, cancelled before the first) is never effective.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fastgen.errors import UsageError

EMA_SPAN = 16
EMA_ALPHA = 2.0 / (EMA_SPAN + 1)
EFFECTIVE_RATES = (2.0, 4.0, 6.0)
"""Generation rates, in tokens per second, at which effective requests are always counted."""


@dataclass(frozen=True)
class Sla:
    """What is promised to each request."""

    prompt_tokens_per_second: float = 512.0
    """The first token comes within prompt_tokens divided by this."""

    generation_tokens_per_second: float = 4.0
    """Later tokens come at least this fast, on the moving average of their gaps."""

    def __post_init__(self) -> None:
        for name in ("prompt_tokens_per_second", "generation_tokens_per_second"):
            rate = getattr(self, name)
            if not 0.0 < rate < float("inf"):
                raise UsageError(f"{name}={rate} must be above 0 and finite, in tokens per second")

    def allowed_first_token_seconds(self, prompt_tokens: int) -> float:
        return prompt_tokens / self.prompt_tokens_per_second

    @property
    def allowed_gap_seconds(self) -> float:
        return 1.0 / self.generation_tokens_per_second

    def at_rate(self, generation_tokens_per_second: float) -> Sla:
        """The same promise for the prompt, another for the answer."""
        return Sla(self.prompt_tokens_per_second, generation_tokens_per_second)


class Receipt(NamedTuple):
    """How one request fared against its `Sla`."""

    effective: bool
    first_token_seconds: float | None
    """From sending to the first token; none where no token came."""
    allowed_first_token_seconds: float
    worst_gap_ema_seconds: float | None
    """The largest ema_t; none where no second token came."""
    allowed_gap_seconds: float
    reason: str
    """Empty when effective; otherwise what was missed, with the numbers."""


class GapEma:
    """The moving average of gaps, one at a time."""

    __slots__ = ("_sum", "_weight", "value", "worst")

    def __init__(self) -> None:
        self._sum = 0.0
        self._weight = 0.0
        self.value: float | None = None
        """ema_t, in seconds, after the latest gap."""
        self.worst: float | None = None
        """The largest ema_t so far."""

    def push(self, gap_seconds: float) -> float:
        """Add a gap and return ema_t."""
        keep = 1.0 - EMA_ALPHA
        self._sum = gap_seconds + keep * self._sum
        self._weight = 1.0 + keep * self._weight
        self.value = self._sum / self._weight
        self.worst = self.value if self.worst is None else max(self.worst, self.value)
        return self.value


class SlaClock:
    """Watches one answer: tell it when each token came, then ask for the receipt. Constant memory."""

    __slots__ = ("_ema", "_last_seconds", "first_token_seconds", "num_tokens", "sent_seconds")

    def __init__(self, sent_seconds: float) -> None:
        self.sent_seconds = sent_seconds
        self.first_token_seconds: float | None = None
        self.num_tokens = 0
        self._last_seconds = sent_seconds
        self._ema = GapEma()

    def token(self, at_seconds: float) -> float:
        """A token came; returns the seconds since the one before (since sending, for the first)."""
        gap = at_seconds - self._last_seconds
        if self.first_token_seconds is None:
            self.first_token_seconds = gap
        else:
            self._ema.push(gap)
        self._last_seconds = at_seconds
        self.num_tokens += 1
        return gap

    def waited_until(self, at_seconds: float) -> None:
        """The answer was given up here: the wait since its last token counts as a gap, though none came."""
        if self.first_token_seconds is not None:
            self._ema.push(at_seconds - self._last_seconds)
            self._last_seconds = at_seconds

    def receipt(self, prompt_tokens: int, sla: Sla) -> Receipt:
        """Judge what has come so far. May be asked for several promises."""
        allowed_first = sla.allowed_first_token_seconds(prompt_tokens)
        allowed_gap = sla.allowed_gap_seconds
        first, worst = self.first_token_seconds, self._ema.worst
        missed = []
        if first is None:
            missed.append("no token came")
        elif first > allowed_first:
            missed.append(
                f"the first token took {first:.3f} s; {prompt_tokens} prompt tokens at "
                f"{sla.prompt_tokens_per_second:g} tokens/s allow {allowed_first:.3f} s"
            )
        if worst is not None and worst >= allowed_gap:
            missed.append(
                f"the moving average of the gaps reached {worst:.3f} s; "
                f"{sla.generation_tokens_per_second:g} tokens/s need it below {allowed_gap:.3f} s"
            )
        return Receipt(not missed, first, allowed_first, worst, allowed_gap, "; ".join(missed))


def judge(prompt_tokens: int, token_times_seconds: Sequence[float], sent_seconds: float, sla: Sla) -> Receipt:
    """The receipt of an answer whose tokens came at these times (any one clock, in order)."""
    clock = SlaClock(sent_seconds)
    for at_seconds in token_times_seconds:
        clock.token(at_seconds)
    return clock.receipt(prompt_tokens, sla)


def join(receipts: Iterable[Receipt]) -> Receipt:
    """One receipt for a request with several answers: effective if all are, with the worst of each number.

    Raises ValueError where there is no receipt to join.
    """
    parts = list(receipts)
    if not parts:
        raise ValueError("join() needs at least one receipt")
    firsts = [part.first_token_seconds for part in parts]
    gaps = [part.worst_gap_ema_seconds for part in parts if part.worst_gap_ema_seconds is not None]
    return Receipt(
        effective=all(part.effective for part in parts),
        first_token_seconds=None if None in firsts else max(first for first in firsts if first is not None),
        allowed_first_token_seconds=min(part.allowed_first_token_seconds for part in parts),
        worst_gap_ema_seconds=max(gaps, default=None),
        allowed_gap_seconds=min(part.allowed_gap_seconds for part in parts),
        reason="; ".join(dict.fromkeys(part.reason for part in parts if part.reason)),
    )
