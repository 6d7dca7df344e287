"""What goes in and what comes out, the same for `fastgen.pipeline` and `fastgen.client`. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from fastgen.core.events import FinishReason, SequenceTiming
from fastgen.core.sampling_params import SamplingParams
from fastgen.core.sla import Receipt
from fastgen.errors import InvalidRequestError
from fastgen.options import from_mapping
from fastgen.text.stream import TextDelta, TokenLogprob

__all__ = ["Message", "Prompt", "Response", "TextDelta", "TokenLogprob", "as_prompts", "kind_of", "sampling_params"]

Message: TypeAlias = Mapping[str, Any]
Prompt: TypeAlias = str | Sequence[Message] | Sequence[int]
"""Text, chat messages ({"role": ..., "content": ...}), or token ids."""


@dataclass(frozen=True, slots=True)
class Response:
    """One answer. `str(response)` is its text."""

    text: str
    prompt_tokens: int
    generated_tokens: int
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    timing: SequenceTiming
    index: int = 0
    """Which of the request's `n` choices this is."""
    logprobs: tuple[TokenLogprob, ...] = ()
    """One a token, where asked for."""
    receipt: Receipt | None = None
    """Whether the latency promise was kept, where a server answered; a pipeline makes none."""

    def __str__(self) -> str:
        return self.text


def as_prompts(prompts: Prompt | Sequence[Prompt]) -> list[Prompt]:
    """One prompt or several, as a list: text, a list of messages and a list of ids are one."""
    if isinstance(prompts, str) or (prompts and isinstance(prompts[0], Mapping | int)):
        return [prompts]  # type: ignore[list-item]
    return list(prompts)  # type: ignore[arg-type]


def kind_of(prompt: Prompt) -> type[str] | type[Mapping[str, Any]] | type[int]:
    """Whether a prompt is text (str), chat messages (Mapping) or token ids (int).

    Raises InvalidRequestError for a list that mixes them.
    """
    if isinstance(prompt, str):
        return str
    if prompt and all(isinstance(message, Mapping) for message in prompt):
        return Mapping
    if all(isinstance(token, int) and not isinstance(token, bool) for token in prompt):
        return int
    raise InvalidRequestError(
        "a prompt is text, a list of chat messages or a list of token ids; got a list that mixes them", param="prompt"
    )


def sampling_params(options: Mapping[str, Any]) -> SamplingParams:
    """`SamplingParams` from keyword arguments; a single stop string may be given bare, lists become tuples."""
    values = dict(options)
    if isinstance(values.get("stop"), str):
        values["stop"] = (values["stop"],)
    for name in ("stop", "stop_token_ids"):
        if isinstance(values.get(name), list):
            values[name] = tuple(values[name])
    return from_mapping(SamplingParams, values, where="generation")
