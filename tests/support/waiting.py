"""Waiting for a condition with a deadline, never for luck."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

LOOK_SECONDS = 0.02


def eventually(predicate: Callable[[], object], timeout_seconds: float = 10.0) -> None:
    """Return once `predicate()` is true; fail the test if it is not within `timeout_seconds`."""
    deadline = time.monotonic() + timeout_seconds
    while not predicate():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_seconds:g} s: {predicate}")
        time.sleep(LOOK_SECONDS)


async def eventually_async(predicate: Callable[[], object], timeout_seconds: float = 10.0) -> None:
    """As `eventually`, while the event loop goes on."""
    deadline = time.monotonic() + timeout_seconds
    while not predicate():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_seconds:g} s: {predicate}")
        await asyncio.sleep(LOOK_SECONDS)
