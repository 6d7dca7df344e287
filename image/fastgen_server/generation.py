"""What HTTP and gRPC share: check the model, tokenize, generate, judge, count. Both are thin skins over this.

GenerationService.prepare(call)  ->  Answer            may refuse: RequestError
Answer.deltas()                  ->  TextDelta ...     ends once, counted once, however it ends
Answer.usage()                   ->  Usage             tokens and the receipt
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, NamedTuple

from fastgen.core.sampling_params import SamplingParams
from fastgen.core.sla import Receipt, SlaClock, join
from fastgen.errors import InvalidRequestError, RequestError, ShuttingDownError, UnknownModelError
from fastgen.text.stream import TextDelta
from fastgen_server.backend import GenerationBackend
from fastgen_server.merging import merge
from fastgen_server.metrics import ServerMetrics
from fastgen_server.settings import ServerConfig

log = logging.getLogger("fastgen.server")

INLINE_CHARACTERS = 4096
"""Longer prompts are tokenized in a thread, so that streams go on meanwhile."""
ABORTED = "the server shut down before this answer was complete; send the request again"


class Chat(NamedTuple):
    """A conversation: one prompt once the model's template has been applied."""

    messages: Sequence[Mapping[str, Any]]


Prompt = str | tuple[int, ...] | Chat

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
"""Who may speak in a chat, and what templates call them. Others would be dropped silently by many templates."""


def template_role(role: str, where: str) -> str:
    """Raises InvalidRequestError for a role nobody knows."""
    if role not in ROLES:
        raise InvalidRequestError(
            f"{where}.role is '{role[:64]}'; allowed are {', '.join(ROLES)}", param=f"{where}.role"
        )
    return ROLES[role]


@dataclass(frozen=True, kw_only=True)
class GenerationCall:
    """One request, parsed and checked in shape."""

    request_id: str
    endpoint: str
    """For the log: /v1/completions, Generate, ..."""
    model: str
    """The name asked for; "" is whatever is served."""
    prompts: tuple[Prompt, ...]
    params: SamplingParams
    priority: int = 0
    arrival_seconds: float
    """time.monotonic() when the request reached the server."""


class Usage(NamedTuple):
    """What a request used, and its receipt where receipts are on."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    sla: Receipt | None


class GenerationService:
    """Turns calls into answers from one engine, as long as the server takes requests."""

    def __init__(
        self, backend: GenerationBackend, config: ServerConfig, metrics: ServerMetrics, model_name: str
    ) -> None:
        self.backend = backend
        self.config = config
        self.metrics = metrics
        self.model_name = model_name
        self.accepting = True
        self._answers: set[Answer] = set()
        self._ended = asyncio.Event()

    async def prepare(self, call: GenerationCall) -> Answer:
        """Tokenize and check. Raises RequestError: draining, unknown model, too many choices, bad token ids."""
        try:
            answer = Answer(self, call, await self._token_ids(call))
        except RequestError as error:
            self.refused(call.endpoint, error, request_id=call.request_id)
            raise
        self.metrics.offered([len(ids) for ids in answer.prompts if self._fits(len(ids), call.params)], call.params)
        return answer

    def refused(self, endpoint: str, error: RequestError, *, request_id: str) -> None:
        """Count and log a request that never became an answer."""
        self.metrics.request_refused(error)
        self._log("%s %s refused: %s (%s)", request_id, endpoint, error.code, error.param or "-")

    async def _token_ids(self, call: GenerationCall) -> list[tuple[int, ...]]:
        if not self.accepting:
            raise ShuttingDownError("this server is shutting down; send the request again, to another replica")
        if call.model not in ("", self.model_name):
            raise UnknownModelError(
                f"the model '{call.model}' is not served here; this server serves '{self.model_name}'", param="model"
            )
        choices = len(call.prompts) * call.params.n
        if choices > self.config.max_choices:
            raise InvalidRequestError(
                f"{len(call.prompts)} prompts times n={call.params.n} are {choices} answers; at most "
                f"{self.config.max_choices} in one request",
                param="n",
            )
        policy = self.backend.info.queue_policy
        if call.priority and policy == "fcfs":
            raise InvalidRequestError(
                f"priority is {call.priority}, but this server's queue policy is fcfs, which knows none; leave it out, "
                "or start the server with --queue-policy priority",
                param="priority",
            )
        self._check_ids("stop_token_ids", call.params.stop_token_ids)
        return [await self._encode(prompt) for prompt in call.prompts]

    async def _encode(self, prompt: Prompt) -> tuple[int, ...]:
        if isinstance(prompt, tuple) and not isinstance(prompt, Chat):
            self._check_ids("prompt", prompt)
            return prompt
        encode = self._encode_chat if isinstance(prompt, Chat) else self.backend.tokenizer.encode
        content: Any = prompt.messages if isinstance(prompt, Chat) else prompt
        size = len(prompt) if isinstance(prompt, str) else sum(_characters(message) for message in prompt.messages)
        ids = encode(content) if size <= INLINE_CHARACTERS else await asyncio.to_thread(encode, content)
        return tuple(ids)

    def _encode_chat(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        return self.backend.tokenizer.apply_chat_template(messages)

    def _check_ids(self, name: str, ids: Sequence[int]) -> None:
        if ids and not (min(ids) >= 0 and max(ids) < self.backend.info.vocab_size):
            wrong = next(i for i in ids if not 0 <= i < self.backend.info.vocab_size)
            raise InvalidRequestError(
                f"{name} holds the token id {wrong}; this model's are 0 to {self.backend.info.vocab_size - 1}",
                param=name,
            )

    def _fits(self, prompt_tokens: int, params: SamplingParams) -> bool:
        """Whether the engine can ever take it; it says no itself, with the numbers."""
        info = self.backend.info
        return prompt_tokens + (params.max_new_tokens or 1) <= min(info.max_model_tokens, info.kv_capacity_tokens)

    # -- what runs ----------------------------------------------------------------------------------------------

    def began(self, answer: Answer) -> None:
        self._answers.add(answer)

    def ended(self, answer: Answer, outcome: str, failure: RequestError | None) -> None:
        """Called exactly once for each answer that began: "finished", "cancelled" by its client, or a failure."""
        self._answers.discard(answer)
        if not self._answers:
            self._ended.set()
        self.metrics.request_ended(answer, failure)
        call, receipt = answer.call, answer.receipt()
        self._log(
            "%s %s %s: %d prompt tokens, %d generated, first token %s, total %.3f s, %s",
            call.request_id,
            call.endpoint,
            outcome if failure is None else failure.code,
            answer.prompt_tokens,
            answer.completion_tokens,
            "never" if receipt.first_token_seconds is None else f"{receipt.first_token_seconds:.3f} s",
            time.monotonic() - call.arrival_seconds,
            "effective" if receipt.effective else f"not effective: {receipt.reason}",
        )

    @property
    def num_running(self) -> int:
        return len(self._answers)

    async def idle(self) -> None:
        """Returns once no answer runs."""
        while self._answers:
            self._ended.clear()
            await self._ended.wait()

    def abort_all(self) -> None:
        """End every running answer with an error its client sees."""
        for answer in tuple(self._answers):
            answer.abort()

    def _log(self, message: str, *values: object) -> None:
        if self.config.log_requests:
            log.info(message, *values)


class Answer:
    """One request on its way: its choices, merged, with a clock on each."""

    def __init__(self, service: GenerationService, call: GenerationCall, prompts: Sequence[tuple[int, ...]]) -> None:
        self.call = call
        self.prompts = prompts
        self.clocks = [SlaClock(call.arrival_seconds) for _ in range(len(prompts) * call.params.n)]
        self.finished: list[TextDelta] = []
        """The last delta of each choice that finished."""
        self._service = service
        self._task: asyncio.Task[Any] | None = None
        self._aborted = False

    async def deltas(self) -> AsyncGenerator[TextDelta, None]:
        """All choices as they come; `index` counts through the prompts, n each.

        Close it (contextlib.aclosing) or cancel its task, and the engine drops the sequences within a step.
        """
        outcome = "cancelled"
        failure: RequestError | None = None
        self._task = asyncio.current_task()
        self._service.began(self)
        try:
            async with aclosing(merge([self._generate(place) for place in range(len(self.prompts))])) as merged:
                async for delta in merged:
                    self._stamp(delta)
                    yield delta
            outcome = "finished"
        except asyncio.CancelledError:
            if not (self._aborted and self._task is not None):
                raise
            self._task.uncancel()
            failure = ShuttingDownError(ABORTED)
            raise failure from None
        except RequestError as error:
            failure = error
            raise
        except Exception as error:
            log.exception("%s failed: this is a bug", self.call.request_id)
            failure = RequestError("something went wrong inside the server; its log says what")
            raise failure from error
        finally:
            if outcome != "finished":
                self._give_up()
                failure = failure or (ShuttingDownError(ABORTED) if self._aborted else None)
            self._service.ended(self, outcome, failure)

    def _give_up(self) -> None:
        """Nothing more comes: the wait for the next token counts."""
        now, finished = time.monotonic(), {delta.index for delta in self.finished}
        for index, clock in enumerate(self.clocks):
            if index not in finished:
                clock.waited_until(now)

    def abort(self) -> None:
        """End this answer from outside, with an error to its client."""
        if self._task is not None:
            self._aborted = True
            self._task.cancel()

    @property
    def prompt_tokens(self) -> int:
        return sum(len(ids) for ids in self.prompts)

    @property
    def completion_tokens(self) -> int:
        return sum(clock.num_tokens for clock in self.clocks)

    @property
    def cached_tokens(self) -> int:
        """Of each prompt, what even its first choice found in the cache."""
        cached: dict[int, int] = {}
        for delta in self.finished:
            if delta.timing is not None:
                place, here = delta.index // self.call.params.n, delta.timing.num_cached_tokens
                cached[place] = min(cached.get(place, here), here)
        return sum(cached.values())

    def receipt(self, generation_tokens_per_second: float | None = None) -> Receipt:
        """Judged on what has come so far; by the configured promise, or at another rate."""
        sla = self._service.config.sla
        if generation_tokens_per_second is not None:
            sla = sla.at_rate(generation_tokens_per_second)
        return join(
            clock.receipt(len(self.prompts[index // self.call.params.n]), sla)
            for index, clock in enumerate(self.clocks)
        )

    def usage(self) -> Usage:
        receipt = self.receipt() if self._service.config.receipts else None
        return Usage(self.prompt_tokens, self.completion_tokens, self.cached_tokens, receipt)

    async def _generate(self, place: int) -> AsyncGenerator[TextDelta, None]:
        """The choices of one prompt, renumbered."""
        params = self.call.params
        stream = self._service.backend.generate(self.prompts[place], params, priority=self.call.priority)
        async with aclosing(stream):
            async for delta in stream:
                yield delta if place == 0 else _renumbered(delta, place * params.n)

    def _stamp(self, delta: TextDelta) -> None:
        now = time.monotonic()
        clock = self.clocks[delta.index]
        for _ in delta.token_ids:
            first = clock.num_tokens == 0
            gap = clock.token(now)
            self._service.metrics.token(gap, first, len(self.prompts[delta.index // self.call.params.n]))
        if delta.finish_reason is not None:
            self.finished.append(delta)
            self._service.metrics.choice_finished(delta, self, now)


def _renumbered(delta: TextDelta, offset: int) -> TextDelta:
    return TextDelta(
        delta.index + offset, delta.text, delta.token_ids, delta.logprobs, delta.finish_reason, delta.timing
    )


def _characters(message: Mapping[str, Any]) -> int:
    content = message.get("content")
    if isinstance(content, str):
        return len(content)
    return sum(len(str(part.get("text", ""))) for part in content or () if isinstance(part, Mapping))
