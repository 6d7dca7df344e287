"""Probes: when one is due, what its results add up to. What a probe asks is in `checks.py`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any, NamedTuple


class Result(NamedTuple):
    """Of one time of asking."""

    is_success: bool
    message: str = ""
    """Why not, for the event."""


class Schedule(NamedTuple):
    """A probe's numbers; what a manifest leaves out, the API server has filled in."""

    initial_delay_seconds: float
    period_seconds: float
    timeout_seconds: float
    success_threshold: int
    failure_threshold: int

    @classmethod
    def of(cls, probe: Mapping[str, Any]) -> Schedule:
        return cls(
            probe.get("initialDelaySeconds", 0),
            probe.get("periodSeconds", 10),
            probe.get("timeoutSeconds", 1),
            probe.get("successThreshold", 1),
            probe.get("failureThreshold", 3),
        )


class Tally(NamedTuple):
    """What the results so far add up to."""

    verdict: bool | None = None
    """None: not enough results yet."""
    last: bool | None = None
    in_a_row: int = 0

    def after(self, is_success: bool, schedule: Schedule) -> Tally:
        """The verdict changes once the threshold's number of equal results came in a row."""
        in_a_row = self.in_a_row + 1 if is_success == self.last else 1
        threshold = schedule.success_threshold if is_success else schedule.failure_threshold
        return Tally(is_success if in_a_row >= threshold else self.verdict, is_success, in_a_row)


async def verdicts(
    schedule: Schedule, ask: Callable[[], Awaitable[Result]], report: Callable[[str], None]
) -> AsyncGenerator[bool, None]:
    """Ask for ever; yield each verdict that is new, and `report` each failure's message."""
    tally = Tally()
    loop = asyncio.get_running_loop()
    due = loop.time() + schedule.initial_delay_seconds
    while True:
        await asyncio.sleep(due - loop.time())
        due = max(due + schedule.period_seconds, loop.time())
        try:
            async with asyncio.timeout(schedule.timeout_seconds):  # wait_for loses cancellations before Python 3.12
                result = await ask()
        except TimeoutError:
            result = Result(False, f"no answer within {schedule.timeout_seconds:g} s")
        if not result.is_success:
            report(result.message)
        before, tally = tally, tally.after(result.is_success, schedule)
        if tally.verdict is not None and tally.verdict != before.verdict:
            yield tally.verdict
