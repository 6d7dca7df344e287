"""Running a load: closed loop (clients that wait for their answers) and open loop (arrivals that do not).

closed   client 1  |--request--||----request----||--request--|
         client 2  |-----request-----||--request--|            in flight: never more than the clients

open     due       |   |      | |        |     |               in flight: whatever the server leaves undone
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fastgen.errors import UsageError
from fastgen_bench.clock import GeneratorHealth, GeneratorWatch
from fastgen_bench.config import LoadConfig
from fastgen_bench.openai_client import OpenAIClient, ServerUnreachableError
from fastgen_bench.records import RequestRecord
from fastgen_bench.workload import (
    ExactPrompts,
    PromptMaker,
    RequestPlan,
    WordPrompts,
    due_times,
    plan_requests,
    tokenizer_counter,
)

WARMUP_INDEX = 10_000_000
SIZING_WORDS = (16, 128)
READY_PLANS = 2000


@dataclass(frozen=True, slots=True)
class Progress:
    """Told after every request."""

    config: LoadConfig
    done: int
    failed: int
    in_flight: int
    elapsed_seconds: float
    output_tokens: int


@dataclass(frozen=True, slots=True)
class LoadResult:
    """One point, measured."""

    config: LoadConfig
    model: str
    records: list[RequestRecord]
    """Every request that ended, in the order of their indexes."""
    began: datetime
    """When the clock started, with its time zone."""
    generator: GeneratorHealth
    interrupted: bool = False
    abandoned: int = 0
    """Requests in flight when it was interrupted; they are not in `records`."""


OnProgress = Callable[[Progress], None]


def run_load(config: LoadConfig, on_progress: OnProgress | None = None) -> LoadResult:
    """Measure one point. Ctrl-C ends it early, and what was measured is still returned.

    Raises ServerUnreachableError when there is no server, or when it refuses every request of the warm-up.
    """
    return asyncio.run(_run_interruptible(config, on_progress))


async def _run_interruptible(config: LoadConfig, on_progress: OnProgress | None) -> LoadResult:
    stop = asyncio.Event()
    handled = threading.current_thread() is threading.main_thread()
    loop = asyncio.get_running_loop()
    if handled:
        loop.add_signal_handler(signal.SIGINT, stop.set)
    try:
        return await run_load_async(config, on_progress, stop)
    finally:
        if handled:
            loop.remove_signal_handler(signal.SIGINT)


async def run_load_async(
    config: LoadConfig, on_progress: OnProgress | None = None, stop: asyncio.Event | None = None
) -> LoadResult:
    """As `run_load`, in a running event loop; setting `stop` ends it early."""
    stop = stop or asyncio.Event()
    async with OpenAIClient(config) as client:
        prompts = await make_prompts(config, client)
        await _warm_up(config, client, prompts, stop)
        run = _Run(config, client, _ready(plan_requests(config, prompts), config), on_progress, stop)
        began = datetime.now().astimezone()
        async with GeneratorWatch() as watch:
            await run.measure()
        return LoadResult(
            config=config,
            model=client.model,
            records=sorted(run.records, key=lambda record: record.index),
            began=began,
            generator=watch.health(),
            interrupted=stop.is_set(),
            abandoned=run.abandoned,
        )


async def make_prompts(config: LoadConfig, client: OpenAIClient) -> PromptMaker:
    """Prompts of the wanted lengths: exact with a tokenizer's help, else sized by asking the server."""
    if config.tokenizer is not None:
        if config.api == "chat":
            raise UsageError("--tokenizer does not go with --api chat, whose template adds tokens; leave it out")
        return ExactPrompts(config.seed, tokenizer_counter(config.tokenizer))
    counts = []
    for position, num_words in enumerate(SIZING_WORDS):
        text = WordPrompts(config.seed, 1.0).make(2 * WARMUP_INDEX + position, num_words)
        record = await client.send(RequestPlan(0, text, 0, 1), began=time.perf_counter())
        if not record.ok:
            raise ServerUnreachableError(f"{client.root} refused a first small request: {record.error}")
        counts.append(record.prompt_tokens)
    if not all(counts):
        return WordPrompts(config.seed)
    (few, many), (short, long) = SIZING_WORDS, counts
    per_word = max((long - short) / (many - few), 0.1)
    return WordPrompts(config.seed, per_word, short - per_word * few)


def _ready(plans: Iterator[RequestPlan], config: LoadConfig) -> Iterator[RequestPlan]:
    """The first plans made before the clock starts, so that writing prompts costs no measured time."""
    made = list(itertools.islice(plans, min(config.max_requests or READY_PLANS, READY_PLANS)))
    return itertools.chain(made, plans)


async def _warm_up(config: LoadConfig, client: OpenAIClient, prompts: PromptMaker, stop: asyncio.Event) -> None:
    count = config.warmup * (1 if config.is_open_loop else config.clients)
    if not count or stop.is_set():
        return
    plans = plan_requests(config, prompts, first_index=WARMUP_INDEX)
    began = time.perf_counter()
    sends = [asyncio.create_task(client.send(next(plans), began=began)) for _ in range(count)]
    await _first_of(asyncio.gather(*sends), stop)
    records = [task.result() for task in sends if task.done() and not task.cancelled()]
    if records and not stop.is_set() and not any(record.ok for record in records):
        raise ServerUnreachableError(f"{client.root} refused every request of the warm-up: {records[0].error}")


async def _first_of(work: asyncio.Future[Any], stop: asyncio.Event) -> None:
    """Wait for the work, or cancel it when told to stop."""
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([work, stopping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        if not work.done():
            work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work


@dataclass(slots=True)
class _Run:
    """The state of one point while it is measured."""

    config: LoadConfig
    client: OpenAIClient
    plans: Iterator[RequestPlan]
    on_progress: OnProgress | None
    stop: asyncio.Event
    records: list[RequestRecord] = field(default_factory=list)
    sent: int = 0
    abandoned: int = 0
    began: float = 0.0
    failed: int = 0
    output_tokens: int = 0

    async def measure(self) -> None:
        self.began = time.perf_counter()
        work = self._open_loop() if self.config.is_open_loop else self._closed_loop()
        await _first_of(asyncio.ensure_future(work), self.stop)
        self.abandoned = self.sent - len(self.records)

    async def _closed_loop(self) -> None:
        async with asyncio.TaskGroup() as clients:
            for _ in range(self.config.clients):
                clients.create_task(self._one_client())

    async def _one_client(self) -> None:
        while not self._enough():
            await self._send(None)

    async def _open_loop(self) -> None:
        async with asyncio.TaskGroup() as requests:
            async for due in self._arrivals():
                requests.create_task(self._send(due))

    async def _arrivals(self) -> AsyncIterator[float]:
        for due in itertools.islice(due_times(self.config), self.config.max_requests):
            wait = self.began + due - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            yield due

    def _enough(self) -> bool:
        limit = self.config.max_requests
        if limit is not None and self.sent >= limit:
            return True
        seconds = self.config.seconds
        return seconds is not None and time.perf_counter() - self.began >= seconds

    async def _send(self, due: float | None) -> None:
        self.sent += 1
        record = await self.client.send(next(self.plans), began=self.began, due_seconds=due)
        self.records.append(record)
        self.failed += not record.ok
        self.output_tokens += record.completion_tokens
        if self.on_progress is not None:
            self.on_progress(
                Progress(
                    config=self.config,
                    done=len(self.records),
                    failed=self.failed,
                    in_flight=self.sent - len(self.records),
                    elapsed_seconds=time.perf_counter() - self.began,
                    output_tokens=self.output_tokens,
                )
            )
