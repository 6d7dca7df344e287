"""What goes wrong with one deployment is tried again, and touches no other."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from prometheus_client import CollectorRegistry
from waiting import eventually_async

from fastgen_operator.api.errors import ApiError
from fastgen_operator.key import Key
from fastgen_operator.loop.queue import KeyedQueue
from fastgen_operator.loop.workers import Workers
from fastgen_operator.metrics import OperatorMetrics
from fastgen_operator.reconcile import Look

GOOD, BAD = Key("a", "good"), Key("a", "bad")


class Bench:
    """Workers over a look that the test gives."""

    def __init__(self, look: Callable[[Key], Awaitable[Look]]) -> None:
        self.metrics = OperatorMetrics(CollectorRegistry())
        self.queue: KeyedQueue[Key] = KeyedQueue(luck=lambda: 0.0)
        self.bugs: list[tuple[Key, Exception]] = []
        self.workers = Workers(self.queue, look, self.metrics, self._tell)

    async def _tell(self, key: Key, error: Exception) -> None:
        self.bugs.append((key, error))
        raise OSError("and the event cannot be posted, either")

    def count(self, result: str) -> float:
        return self.metrics.registry.get_sample_value("fastgen_operator_reconciles_total", {"result": result}) or 0.0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self.workers.run()) for _ in range(2)]
        try:
            yield
            assert not any(task.done() for task in tasks)
        finally:
            for task in tasks:
                task.cancel()


async def test_a_bug_in_one_is_told_and_tried_again_while_others_go_on() -> None:
    tried = {GOOD: 0, BAD: 0}

    async def look(key: Key) -> Look:
        tried[key] += 1
        if key == BAD and tried[key] < 3:
            raise KeyError("nobody expected this")
        return Look("ok")

    bench = Bench(look)
    async with bench.running():
        for key in (BAD, GOOD, BAD):
            bench.queue.add(key)
        await eventually_async(lambda: tried[BAD] == 3 and tried[GOOD] == 1)
        await eventually_async(lambda: bench.count("ok") == 2)
    assert bench.count("error") == 2
    assert [key for key, _ in bench.bugs] == [BAD, BAD]


async def test_what_happens_to_everyone_is_tried_again_and_is_no_bug() -> None:
    errors: list[Exception] = [
        ApiError(503, "ServiceUnavailable", "etcd leader changed"),
        TimeoutError(),
        OSError("no"),
    ]

    async def look(_: Key) -> Look:
        if errors:
            raise errors.pop()
        return Look("ok")

    bench = Bench(look)
    async with bench.running():
        bench.queue.add(GOOD)
        await eventually_async(lambda: bench.count("ok") == 1)
    assert bench.count("error") == 3
    assert bench.bugs == []


async def test_a_look_says_when_it_wants_to_be_looked_at_again() -> None:
    looks = [Look("ok", again_after_seconds=0.05), Look("problem", try_again=True), Look("gone")]

    async def look(_: Key) -> Look:
        return looks.pop(0)

    bench = Bench(look)
    async with bench.running():
        bench.queue.add(GOOD)
        await eventually_async(lambda: bench.count("gone") == 1)
        await asyncio.sleep(0.3)
    assert (bench.count("ok"), bench.count("problem"), bench.count("gone")) == (1, 1, 1)
