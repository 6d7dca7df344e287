"""The engine in the caller's own process: `fastgen.pipeline(path)`.

No server, no other process, nothing left behind: the paper's non-persistent deployment. Threads and
interleaved streams share one engine; whoever waits for a token does the next step for everybody.
"""

from __future__ import annotations

import collections
import itertools
import os
import secrets
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, cast

from tqdm import tqdm

from fastgen.calls import Message, Prompt, Response, as_prompts, kind_of, sampling_params
from fastgen.config import EngineConfig, EngineInfo
from fastgen.core.events import Event, SequenceFailed, SequenceTiming
from fastgen.core.sampling_params import MAX_SEED, SamplingParams
from fastgen.core.sequence import SequenceRequest
from fastgen.engine import Engine
from fastgen.errors import REQUEST_ERRORS, RequestError, UsageError
from fastgen.options import from_mapping
from fastgen.runtime.hub import resolve_model_folder
from fastgen.text.stream import TextDelta, TextStream
from fastgen.text.tokenizer import Tokenizer

PROGRESS_PROMPTS = 8
"""With this many prompts or more a terminal is shown a progress bar."""


class Pipeline:
    """A loaded model. Call it for answers, `stream` one, and close it (or use `with`) to free its memory."""

    def __init__(self, config: EngineConfig) -> None:
        self.tokenizer = Tokenizer.load(str(resolve_model_folder(config.model, config.revision)))
        self._engine: Engine | None = Engine(config)
        self._ids = itertools.count()
        self._mailboxes: dict[int, collections.deque[Event]] = {}
        self._lock = threading.Lock()

    @property
    def info(self) -> EngineInfo:
        """What every "auto" became, and the sizes."""
        return self._live().info

    def __call__(
        self, prompts: Prompt | Sequence[Prompt], *, progress: bool | None = None, **params: Any
    ) -> list[Response]:
        """Answer every prompt, batched together; responses come in the order of the prompts (and of `n`).

        `params` are those of `SamplingParams`: max_new_tokens, temperature, top_p, stop, seed, ... Unknown
        ones raise UnknownOptionError; a prompt that can never fit raises TooLongError before any work.
        """
        choices = self._start(as_prompts(prompts), params)
        bar = tqdm(total=len(choices), unit="answer", disable=not _wants_bar(progress, len(choices)))
        try:
            responses = []
            for choice in choices:
                responses.append(self._collect(choice))
                bar.update()
            return responses
        finally:
            bar.close()
            self._end(choices)

    def stream(self, prompt: Prompt, **params: Any) -> Iterator[TextDelta]:
        """The answer to one prompt piece by piece; closing the iterator cancels what is left.

        With n > 1 the choices' pieces come interleaved, told apart by `index`.
        """
        choices = self._start([prompt], params)
        return self._stream(choices)

    def close(self) -> None:
        """Free the model. Idempotent."""
        with self._lock:
            if self._engine is not None:
                self._engine.close()
                self._engine = None

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _live(self) -> Engine:
        if self._engine is None:
            raise UsageError("this pipeline is closed; make a new one with fastgen.pipeline(...)")
        return self._engine

    def _start(self, prompts: Sequence[Prompt], options: Mapping[str, Any]) -> list[_Choice]:
        params = sampling_params(options)
        choices: list[_Choice] = []
        try:
            for prompt in prompts:
                token_ids = tuple(self._encode(prompt))
                seed = secrets.randbits(63) if params.seed is None else params.seed
                for index in range(params.n):
                    choices.append(self._submit(token_ids, params, (seed + index) % (MAX_SEED + 1), index))
        except BaseException:
            self._end(choices)
            raise
        return choices

    def _encode(self, prompt: Prompt) -> list[int]:
        kind = kind_of(prompt)
        if kind is str:
            return self.tokenizer.encode(cast(str, prompt))
        if kind is int:
            return list(cast(Sequence[int], prompt))
        return self.tokenizer.apply_chat_template(list(cast(Sequence[Message], prompt)))

    def _submit(self, token_ids: tuple[int, ...], params: SamplingParams, seed: int, index: int) -> _Choice:
        with self._lock:
            engine = self._live()
            sequence_id = next(self._ids)
            eos = engine.eos_token_ids
            engine.submit(SequenceRequest(sequence_id, token_ids, params, seed=seed, eos_token_ids=eos))
            self._mailboxes[sequence_id] = collections.deque()
        return _Choice(sequence_id, len(token_ids), TextStream(self.tokenizer, token_ids, params, index))

    def _deltas(self, choice: _Choice) -> Iterator[TextDelta]:
        """Every delta of one choice, doing the engine's steps while there is none."""
        while choice.stream.finish_reason is None:
            yield self._push(choice, self._next_event(choice))

    def _push(self, choice: _Choice, event: Event) -> TextDelta:
        if isinstance(event, SequenceFailed):
            raise REQUEST_ERRORS.get(event.code, RequestError)(event.message)
        delta = choice.stream.push(event)
        if choice.stream.stopped_by_string:
            choice.timing = delta.timing or self._cancel(choice)
        elif delta.timing is not None:
            choice.timing = delta.timing
        return delta

    def _next_event(self, choice: _Choice) -> Event:
        mailbox = self._mailboxes[choice.sequence_id]
        while not mailbox:
            with self._lock:
                if not mailbox:
                    self._step()
        return mailbox.popleft()

    def _step(self) -> None:
        for event in self._live().step():
            mailbox = self._mailboxes.get(event.sequence_id)
            if mailbox is not None:
                mailbox.append(event)

    def _cancel(self, choice: _Choice) -> SequenceTiming | None:
        with self._lock:
            return self._live().cancel(choice.sequence_id)

    def _collect(self, choice: _Choice) -> Response:
        deltas = list(self._deltas(choice))
        token_ids = tuple(token for delta in deltas for token in delta.token_ids)
        finish_reason = deltas[-1].finish_reason
        if finish_reason is None or choice.timing is None:
            raise RequestError(f"sequence {choice.sequence_id} ended without saying why")
        return Response(
            text="".join(delta.text for delta in deltas),
            prompt_tokens=choice.num_prompt_tokens,
            generated_tokens=len(token_ids),
            token_ids=token_ids,
            finish_reason=finish_reason,
            timing=choice.timing,
            index=choice.stream.index,
            logprobs=tuple(logprob for delta in deltas for logprob in delta.logprobs),
        )

    def _stream(self, choices: list[_Choice]) -> Iterator[TextDelta]:
        try:
            if len(choices) == 1:
                yield from self._deltas(choices[0])
                return
            live = list(choices)
            while live:
                for choice in live:
                    yield self._push(choice, self._next_event(choice))
                live = [choice for choice in live if choice.stream.finish_reason is None]
        finally:
            self._end(choices)

    def _end(self, choices: Iterable[_Choice]) -> None:
        """Whatever happened: nothing of these is left in the engine."""
        with self._lock:
            for choice in choices:
                self._mailboxes.pop(choice.sequence_id, None)
                if self._engine is not None and choice.stream.finish_reason is None:
                    self._engine.cancel(choice.sequence_id)


@dataclass(slots=True, eq=False)
class _Choice:
    """One sequence on its way: its id in the engine, and the text it has become."""

    sequence_id: int
    num_prompt_tokens: int
    stream: TextStream
    timing: SequenceTiming | None = None


def pipeline(model: str | os.PathLike[str], **config: Any) -> Pipeline:
    """Load a model for use in this process.

    `model`: a folder in Hugging Face format or a hub id. `config`: the fields of `EngineConfig`, such as
    dtype=, token_budget=, block_tokens=, kv_bytes=, composition=; unknown ones raise UnknownOptionError
    and name the nearest.
    """
    # Nobody else waits in this process: however long a list of prompts is, none of them is sent away.
    values = {"max_queued_requests": sys.maxsize, **config, "model": os.fspath(model)}
    return Pipeline(from_mapping(EngineConfig, values, where="fastgen.pipeline"))


def _wants_bar(progress: bool | None, num_answers: int) -> bool:
    return progress if progress is not None else num_answers >= PROGRESS_PROMPTS and sys.stderr.isatty()
