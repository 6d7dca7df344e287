"""A closed loop around an engine in this process: no sockets, no text, nothing but the engine's own time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from fastgen.core.events import SequenceFailed, TokenEvent
from fastgen.core.sampling_params import SamplingParams
from fastgen.core.sequence import SequenceRequest
from fastgen.engine import Engine
from fastgen_bench.records import RequestRecord
from fastgen_bench.workload import draw_lengths


class TokenRequest(NamedTuple):
    """A prompt of token ids and the exact length of its answer."""

    prompt_token_ids: tuple[int, ...]
    output_tokens: int


def random_requests(
    count: int,
    *,
    vocab_size: int,
    prompt_tokens: int,
    output_tokens: int,
    sigma: float = 0.0,
    longest_tokens: int | None = None,
    shared_tokens: int = 0,
    seed: int = 42,
) -> list[TokenRequest]:
    """`count` requests of random tokens; lengths as `draw_lengths`, prompt plus answer at most `longest_tokens`.
    The first `shared_tokens` are the same in all prompts, the others in none."""
    rng = np.random.default_rng(seed)
    outputs = draw_lengths(rng, output_tokens, sigma, None, count)
    prompts = draw_lengths(rng, prompt_tokens, sigma, None, count)
    if longest_tokens is not None:
        prompts = np.minimum(prompts, longest_tokens - outputs)
    shared = rng.integers(0, vocab_size, shared_tokens)
    requests = []
    for length, output in zip(prompts.tolist(), outputs.tolist(), strict=True):
        ids = rng.integers(0, vocab_size, length)
        ids[:shared_tokens] = shared[:length]
        requests.append(TokenRequest(tuple(ids.tolist()), output))
    return requests


class InProcessLoop:
    """Drives one engine, one load after another."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._next_id = 0

    def run(
        self,
        requests: Sequence[TokenRequest],
        clients: int,
        *,
        max_seconds: float | None = None,
        on_answer: Callable[[RequestRecord, list[int]], None] | None = None,
    ) -> list[RequestRecord]:
        """Greedy answers to all requests, `clients` in flight at a time. After `max_seconds` no more are begun.

        `on_answer` gets each finished request with its tokens.
        """
        began = time.perf_counter()
        waiting = iter(enumerate(requests))
        live: dict[int, tuple[RequestRecord, list[int]]] = {}
        records: list[RequestRecord] = []
        while True:
            now = time.perf_counter() - began
            if max_seconds is None or now < max_seconds:
                self._fill(waiting, live, clients, now)
            if not live:
                return sorted(records, key=lambda record: record.index)
            events = self.engine.step()
            now = time.perf_counter() - began
            for event in events:
                record, tokens = live[event.sequence_id]
                if self._take(event, record, tokens, now):
                    del live[event.sequence_id]
                    records.append(record)
                    if on_answer is not None:
                        on_answer(record, tokens)

    def _fill(
        self,
        waiting: Iterable[tuple[int, TokenRequest]],
        live: dict[int, tuple[RequestRecord, list[int]]],
        clients: int,
        now: float,
    ) -> None:
        for index, request in waiting if len(live) < clients else ():
            self._next_id += 1
            params = SamplingParams(temperature=0.0, max_new_tokens=request.output_tokens, ignore_eos=True)
            self.engine.submit(SequenceRequest(self._next_id, request.prompt_token_ids, params, seed=0))
            record = RequestRecord(index, now, now, prompt_tokens=len(request.prompt_token_ids))
            live[self._next_id] = (record, [])
            if len(live) >= clients:
                return

    def _take(self, event: TokenEvent | SequenceFailed, record: RequestRecord, tokens: list[int], now: float) -> bool:
        """Note one event; True when it was the sequence's last."""
        record.ended_seconds = now
        if isinstance(event, SequenceFailed):
            record.error = f"{event.code}: {event.message}"
            return True
        if event.token_id is not None:
            tokens.append(event.token_id)
            record.chunk_seconds.append(now)
            record.chunk_tokens.append(1)
            record.completion_tokens += 1
        record.finish_reason = event.finish
        if event.finish == "cancelled":
            record.error = "cancelled"
        return event.finish is not None
