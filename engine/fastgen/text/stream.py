"""Token events of one sequence to pieces of text: detokenizing and stop strings, composed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fastgen.core.events import FinishReason, SequenceTiming, TokenEvent
from fastgen.core.sampling_params import SamplingParams
from fastgen.text.detokenizer import Detokenizer
from fastgen.text.stop import StopMatcher
from fastgen.text.tokenizer import Tokenizer


class TokenLogprob(NamedTuple):
    """One token as the model saw it, and the likeliest instead of it."""

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...]
    """(token id, log-probability), likeliest first. `Tokenizer.token_bytes` spells an id."""


@dataclass(frozen=True, slots=True)
class TextDelta:
    """What one event added to choice `index` of a request.

    `text` may be "" while a character or a possible stop string is incomplete; `token_ids` tells every
    token all the same, those of a stop string and the end-of-sequence token included.
    """

    index: int
    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: FinishReason | None = None
    timing: SequenceTiming | None = None
    """With `finish_reason`, where the engine told it."""


class TextStream:
    """The text of one sequence.

    A stop string is seen here and not in the engine: then `stopped_by_string` is true, the delta says
    finish_reason "stop", and the caller cancels the sequence in the engine. Later events add nothing.
    """

    def __init__(self, tokenizer: Tokenizer, prompt_ids: Sequence[int], params: SamplingParams, index: int = 0) -> None:
        self.index = index
        self.finish_reason: FinishReason | None = None
        self.stopped_by_string = False
        self._detokenizer = Detokenizer(tokenizer, prompt_ids)
        self._matcher = StopMatcher(params.stop)
        self._min_new_tokens = params.min_new_tokens
        self._wants_logprobs = params.logprobs is not None
        self._num_tokens = 0

    def push(self, event: TokenEvent) -> TextDelta:
        """The next delta. An event after the end gives an empty one."""
        if self.finish_reason is not None:
            return TextDelta(self.index, "", ())
        text = ""
        if event.token_id is not None:
            self._num_tokens += 1
            # The engine's own "stop" means this very token ended the answer: it is not part of the text.
            if event.finish != "stop":
                text = self._detokenizer.push(event.token_id)
        emit = self._match(text)
        if event.finish is not None and not self.stopped_by_string:
            emit += self._flush()
        self.finish_reason = "stop" if self.stopped_by_string else event.finish
        return TextDelta(
            self.index,
            emit,
            () if event.token_id is None else (event.token_id,),
            self._logprobs(event),
            self.finish_reason,
            event.timing,
        )

    def _match(self, text: str) -> str:
        # Stop strings, like stop tokens, count only after min_new_tokens.
        if not text or self._num_tokens <= self._min_new_tokens:
            return text
        emit, self.stopped_by_string = self._matcher.push(text)
        return emit

    def _flush(self) -> str:
        """The rest of a text that ends now; even the last incomplete character may complete a stop string."""
        emit = self._match(self._detokenizer.flush())
        return emit if self.stopped_by_string else emit + self._matcher.flush()

    def _logprobs(self, event: TokenEvent) -> tuple[TokenLogprob, ...]:
        if not self._wants_logprobs or event.token_id is None or event.logprob is None:
            return ()
        return (TokenLogprob(event.token_id, event.logprob, event.top_logprobs),)
