"""How the tokens of one sequence are chosen, checked once where the request enters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastgen.errors import InvalidRequestError

MAX_LOGPROBS = 20
MAX_STOP_STRINGS = 16
MAX_CHOICES = 128
MAX_SEED = 2**63 - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingParams:
    """Defaults are neutral: sampling from the model's own distribution (OpenAI's temperature 1)."""

    max_new_tokens: int | None = None
    """Longest answer. none fills the context."""

    min_new_tokens: int = 0
    """No end-of-sequence or stop token is sampled before this many tokens."""

    temperature: float = 1.0
    """0 is greedy; otherwise logits are divided by it."""

    top_k: int = 0
    """Keep the k likeliest tokens; 0 keeps all."""

    top_p: float = 1.0
    """Keep the smallest set of tokens whose probabilities add up to top_p."""

    min_p: float = 0.0
    """Keep tokens at least min_p times as likely as the likeliest."""

    repetition_penalty: float = 1.0
    """Divide (positive) or multiply (negative) the logits of tokens seen in prompt or answer (CTRL, 2019)."""

    presence_penalty: float = 0.0
    """Subtracted once from the logit of each token the answer already holds."""

    frequency_penalty: float = 0.0
    """Subtracted as often as the answer already holds the token."""

    seed: int | None = None
    """Same seed, same tokens, whatever else runs. none draws one."""

    n: int = 1
    """How many answers, each a sequence of its own; choice i of a seeded request uses seed + i."""

    stop: tuple[str, ...] = ()
    """Strings that end the answer and are not part of it."""

    stop_token_ids: tuple[int, ...] = ()
    """Tokens that end the answer and are not part of its text."""

    ignore_eos: bool = False
    """Go on past the end-of-sequence token (for measurements)."""

    logprobs: int | None = None
    """Report the chosen token's log-probability and this many of the likeliest; none reports nothing."""

    def __post_init__(self) -> None:
        _within("max_new_tokens", self.max_new_tokens, 1, None)
        _within("min_new_tokens", self.min_new_tokens, 0, self.max_new_tokens)
        _within("temperature", self.temperature, 0.0, 100.0)
        _within("top_k", self.top_k, 0, None)
        _within("top_p", self.top_p, 0.0, 1.0, open_low=True)
        _within("min_p", self.min_p, 0.0, 1.0)
        _within("repetition_penalty", self.repetition_penalty, 0.0, 100.0, open_low=True)
        _within("presence_penalty", self.presence_penalty, -2.0, 2.0)
        _within("frequency_penalty", self.frequency_penalty, -2.0, 2.0)
        _within("seed", self.seed, 0, MAX_SEED)
        _within("n", self.n, 1, MAX_CHOICES)
        _within("logprobs", self.logprobs, 0, MAX_LOGPROBS)
        if len(self.stop) > MAX_STOP_STRINGS:
            raise InvalidRequestError(f"stop holds {len(self.stop)} strings; at most {MAX_STOP_STRINGS}", param="stop")
        if any(not text for text in self.stop):
            raise InvalidRequestError("stop holds an empty string; leave it out", param="stop")

    @property
    def is_greedy(self) -> bool:
        return self.temperature == 0.0


def _within(name: str, value: Any, low: float, high: float | None, *, open_low: bool = False) -> None:
    if value is None:
        return
    below = value <= low if open_low else value < low
    if below or value != value or (high is not None and value > high):
        left = "above" if open_low else "at least"
        right = "" if high is None else f" and at most {high:g}"
        raise InvalidRequestError(f"{name} is {value}; it must be {left} {low:g}{right}", param=name)
