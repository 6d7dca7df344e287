"""The shapes of OpenAI's responses: completions and chats, whole and in chunks."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from fastgen.text.stream import TextDelta, TokenLogprob
from fastgen.text.tokenizer import Tokenizer
from fastgen_server.generation import Answer, Usage
from fastgen_server.http.parsing import Wish

Json = dict[str, Any]
LEAST_LOGPROB = -9999.0
"""JSON has no minus infinity; the number clients of OpenAI and vLLM know in its place."""


class Style(ABC):
    """Renders one request's answer. Remembers, for each choice, what a stream has said so far."""

    id_prefix: str
    whole_object: str
    chunk_object: str

    def __init__(self, answer: Answer, wish: Wish, model_name: str, tokenizer: Tokenizer) -> None:
        self.wish = wish
        self.tokenizer = tokenizer
        self._answer = answer
        self._head: Json = {
            "id": answer.call.request_id,
            "object": self.chunk_object if wish.stream else self.whole_object,
            "created": int(time.time()),
            "model": model_name,
        }

    def whole(self, deltas: Sequence[TextDelta], usage: Usage) -> Json:
        """The response to a request that does not stream."""
        of_choice: list[list[TextDelta]] = [[] for _ in self._indices()]
        for delta in deltas:
            of_choice[delta.index].append(delta)
        choices = [self._choice(index, of_choice[index]) for index in self._indices()]
        return {**self._head, "choices": choices, "usage": usage_json(usage)}

    def chunk(self, delta: TextDelta) -> Json:
        """What is new of one choice."""
        return self._chunk(self._delta(delta))

    def opening(self) -> list[Json]:
        """Chunks before the first token: who speaks, or the echo of the prompt."""
        return [self._chunk(choice) for index in self._indices() if (choice := self._opening(index)) is not None]

    def usage(self, usage: Usage) -> Json:
        """The last chunk of a stream that asked for it: no choices, only usage."""
        return {**self._head, "choices": [], "usage": usage_json(usage)}

    def _indices(self) -> range:
        return range(len(self._answer.clocks))

    def _chunk(self, choice: Json) -> Json:
        chunk = {**self._head, "choices": [choice]}
        # As OpenAI: with include_usage every chunk has the field, null until the last.
        return {**chunk, "usage": None} if self.wish.include_usage else chunk

    def _extras(self, token_ids: Sequence[int]) -> Json:
        return {"token_ids": list(token_ids)} if self.wish.token_ids else {}

    @abstractmethod
    def _opening(self, index: int) -> Json | None: ...

    @abstractmethod
    def _delta(self, delta: TextDelta) -> Json: ...

    @abstractmethod
    def _choice(self, index: int, deltas: Sequence[TextDelta]) -> Json: ...

    def _spell(self, token_id: int) -> bytes:
        return self.tokenizer.token_bytes(token_id)


class CompletionStyle(Style):
    """/v1/completions."""

    id_prefix = "cmpl-"
    whole_object = chunk_object = "text_completion"

    def __init__(self, answer: Answer, wish: Wish, model_name: str, tokenizer: Tokenizer) -> None:
        super().__init__(answer, wish, model_name, tokenizer)
        self._offsets = [0] * len(answer.clocks)

    def _opening(self, index: int) -> Json | None:
        echo = self._echo(index)
        return {"index": index, "text": echo, "logprobs": None, "finish_reason": None} if echo else None

    def _delta(self, delta: TextDelta) -> Json:
        return self._make(delta.index, delta.text, delta.token_ids, delta.logprobs, delta.finish_reason)

    def _choice(self, index: int, deltas: Sequence[TextDelta]) -> Json:
        text, token_ids, logprobs, finish_reason = _joined(deltas)
        return self._make(index, self._echo(index) + text, token_ids, logprobs, finish_reason)

    def _make(
        self, index: int, text: str, ids: Sequence[int], logprobs: Sequence[TokenLogprob], finish_reason: str | None
    ) -> Json:
        shown = self._logprobs(index, logprobs) if self.wish.logprobs else None
        return {
            "index": index,
            "text": text,
            "logprobs": shown,
            "finish_reason": finish_reason,
            **self._extras(ids),
        }

    def _echo(self, index: int) -> str:
        if not self.wish.echo:
            return ""
        call = self._answer.call
        place = index // call.params.n
        prompt = call.prompts[place]
        return prompt if isinstance(prompt, str) else self.tokenizer.decode(self._answer.prompts[place])

    def _logprobs(self, index: int, logprobs: Sequence[TokenLogprob]) -> Json:
        tokens, offsets, tops = [], [], []
        for item in logprobs:
            token = self._text(item.token_id)
            tokens.append(token)
            offsets.append(self._offsets[index])
            self._offsets[index] += len(token)
            # The likeliest first, so that of two tokens spelled alike the likelier is kept; the chosen one always.
            top = {self._text(token_id): _finite(logprob) for token_id, logprob in reversed(item.top)}
            tops.append({**top, token: _finite(item.logprob)})
        return {
            "tokens": tokens,
            "token_logprobs": [_finite(item.logprob) for item in logprobs],
            "top_logprobs": tops,
            "text_offset": offsets,
        }

    def _text(self, token_id: int) -> str:
        return self._spell(token_id).decode("utf-8", "replace")


class ChatStyle(Style):
    """/v1/chat/completions."""

    id_prefix = "chatcmpl-"
    whole_object = "chat.completion"
    chunk_object = "chat.completion.chunk"

    def _opening(self, index: int) -> Json | None:
        return {
            "index": index,
            "delta": {"role": "assistant", "content": ""},
            "logprobs": None,
            "finish_reason": None,
        }

    def _delta(self, delta: TextDelta) -> Json:
        return {
            "index": delta.index,
            "delta": {"content": delta.text} if delta.text or delta.finish_reason is None else {},
            "logprobs": self._logprobs(delta.logprobs),
            "finish_reason": delta.finish_reason,
            **self._extras(delta.token_ids),
        }

    def _choice(self, index: int, deltas: Sequence[TextDelta]) -> Json:
        text, token_ids, logprobs, finish_reason = _joined(deltas)
        return {
            "index": index,
            "message": {"role": "assistant", "content": text, "refusal": None},
            "logprobs": self._logprobs(logprobs),
            "finish_reason": finish_reason,
            **self._extras(token_ids),
        }

    def _logprobs(self, logprobs: Sequence[TokenLogprob]) -> Json | None:
        if not self.wish.logprobs:
            return None
        content = [
            {
                **self._token(item.token_id, item.logprob),
                "top_logprobs": [self._token(token_id, logprob) for token_id, logprob in item.top],
            }
            for item in logprobs
        ]
        return {"content": content, "refusal": None}

    def _token(self, token_id: int, logprob: float) -> Json:
        spelled = self._spell(token_id)
        return {"token": spelled.decode("utf-8", "replace"), "logprob": _finite(logprob), "bytes": list(spelled)}


def usage_json(usage: Usage) -> Json:
    """OpenAI's usage, and the receipt."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        **({} if usage.sla is None else {"sla": usage.sla._asdict()}),
    }


def _joined(deltas: Sequence[TextDelta]) -> tuple[str, list[int], list[TokenLogprob], str | None]:
    """One choice's deltas as one: text, token ids, logprobs, finish reason."""
    return (
        "".join(delta.text for delta in deltas),
        [token_id for delta in deltas for token_id in delta.token_ids],
        [item for delta in deltas for item in delta.logprobs],
        next((delta.finish_reason for delta in reversed(deltas) if delta.finish_reason), None),
    )


def _finite(logprob: float) -> float:
    return max(logprob, LEAST_LOGPROB)
