"""What probes' results add up to, and how long failures wait."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from fastgen_devcluster.node.backoff import Backoff
from fastgen_devcluster.node.probing import Result, Schedule, Tally, verdicts


def tallied(results: str, *, success: int = 1, failure: int = 3) -> str:
    """The verdict after each of `results` (+ or -), ? where there is none yet."""
    tally, schedule, said = Tally(), Schedule(0, 1, 1, success, failure), ""
    for result in results:
        tally = tally.after(result == "+", schedule)
        said += "?" if tally.verdict is None else "+" if tally.verdict else "-"
    return said


@pytest.mark.parametrize(
    ("results", "expected", "success", "failure"),
    [
        ("+", "+", 1, 3),
        ("---", "??-", 1, 3),
        ("--+--", "??+++", 1, 3),
        ("+---+", "+++-+", 1, 3),
        ("++-++", "?++++", 2, 2),
        ("-+-+--", "-----" + "-", 2, 1),
    ],
)
def test_a_verdict_turns_after_enough_equal_results_in_a_row(
    results: str, expected: str, success: int, failure: int
) -> None:
    assert tallied(results, success=success, failure=failure) == expected


async def test_an_answer_that_does_not_come_in_time_is_a_failure_and_the_next_is_asked_for() -> None:
    answers = iter([5.0, 0.0])
    reported: list[str] = []

    async def ask() -> Result:
        await asyncio.sleep(next(answers))
        return Result(True)

    async with aclosing(verdicts(Schedule(0, 0.01, 0.05, 1, 1), ask, reported.append)) as found:
        assert [await anext(found), await anext(found)] == [False, True]
    assert reported == ["no answer within 0.05 s"]


def test_a_container_starts_again_at_once_then_after_delays_that_double() -> None:
    waits, backoff = [], Backoff()
    for _ in range(9):
        backoff = backoff.after(ran_seconds=1)
        waits.append(backoff.wait_seconds)
    assert waits == [0, 10, 20, 40, 80, 160, 300, 300, 300]
    assert backoff.after(ran_seconds=601).wait_seconds == 0


async def test_an_end_that_comes_with_an_answer_is_not_lost() -> None:
    async def ask() -> Result:
        await asyncio.sleep(0)
        watching.cancel()
        return Result(False, "unwell")

    async def watch() -> None:
        async for _ in verdicts(Schedule(0, 0.01, 1, 1, 1000), ask, lambda message: None):
            pass

    watching = asyncio.create_task(watch())
    await asyncio.wait({watching}, timeout=0.5)
    assert watching.cancelled()
