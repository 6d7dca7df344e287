"""A queue of keys: each once, one worker at a time, again after a while."""

from __future__ import annotations

import asyncio

import pytest
from waiting import eventually_async

from fastgen_operator.loop.backoff import JITTER, MOST_SECONDS, backoff_seconds
from fastgen_operator.loop.queue import GAP_SECONDS, KeyedQueue


def queue() -> KeyedQueue[str]:
    return KeyedQueue(luck=lambda: 0.0)


async def test_a_key_that_waits_is_there_once_and_the_first_comes_first() -> None:
    keys = queue()
    for key in ("a", "b", "a"):
        keys.add(key)
    assert len(keys) == 2
    assert [await keys.get(), await keys.get()] == ["a", "b"]
    assert len(keys) == 0


async def test_a_key_in_work_is_given_to_nobody_else_and_comes_again_once_afterwards() -> None:
    keys = queue()
    keys.add("a")
    assert await keys.get() == "a"
    keys.add("a")
    keys.add("a")
    keys.add("b")
    assert await keys.get() == "b"
    assert len(keys) == 0
    keys.done("a")
    async with asyncio.timeout(GAP_SECONDS * 20):
        assert await keys.get() == "a"
    keys.done("a")
    await asyncio.sleep(2 * GAP_SECONDS)
    assert len(keys) == 0


async def test_a_key_for_later_comes_later_and_the_sooner_of_two_times_counts() -> None:
    keys = queue()
    loop = asyncio.get_running_loop()
    started = loop.time()
    keys.add("a", 30.0)
    keys.add("a", 0.05)
    keys.add("a", 20.0)
    async with asyncio.timeout(5):
        assert await keys.get() == "a"
    assert loop.time() - started >= 0.05


async def test_a_key_that_is_looked_at_now_needs_no_later_look() -> None:
    keys = queue()
    keys.add("a", 0.02)
    keys.add("a")
    assert await keys.get() == "a"
    keys.done("a")
    await asyncio.sleep(0.1)
    assert len(keys) == 0


async def test_failures_in_a_row_wait_longer_and_a_success_begins_anew() -> None:
    keys = queue()
    keys.add("a")
    await keys.get()
    waits = [keys.retry("a") for _ in range(3)]
    assert waits == sorted(set(waits))
    keys.succeeded("a")
    assert keys.retry("a") == waits[0]


async def test_what_is_forgotten_does_not_come() -> None:
    keys = queue()
    keys.add("a", 0.02)
    keys.forget("a")
    keys.add("b", 0.05)
    async with asyncio.timeout(5):
        assert await keys.get() == "b"


async def test_no_key_is_lost_among_many_workers() -> None:
    keys: KeyedQueue[int] = KeyedQueue()
    working: set[int] = set()
    counts = dict.fromkeys(range(40), 0)

    async def work() -> None:
        while True:
            key = await keys.get()
            assert key not in working
            working.add(key)
            await asyncio.sleep(0.001)
            counts[key] += 1
            working.discard(key)
            keys.done(key)

    async with asyncio.TaskGroup() as tasks:
        workers = [tasks.create_task(work()) for _ in range(8)]
        for _ in range(3):
            for key in counts:
                keys.add(key)
            await asyncio.sleep(0.003)
        await eventually_async(lambda: all(counts.values()) and not working and not len(keys))
        for worker in workers:
            worker.cancel()


@pytest.mark.parametrize(("failures", "plain"), [(1, 0.5), (2, 1.0), (3, 2.0), (8, 60.0), (500, 60.0)])
def test_waits_double_up_to_a_bound_and_are_spread(failures: int, plain: float) -> None:
    low, middle, high = (backoff_seconds(failures, luck) for luck in (0.0, 0.5, 0.999))
    assert middle == pytest.approx(plain)
    assert plain * (1 - JITTER) == pytest.approx(low)
    assert low < middle < high <= MOST_SECONDS * (1 + JITTER)
