"""That something is to end, and by when."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable
from typing import Any


class Ending:
    """Asked for once or again; the time of the kill may only move nearer. Times are the event loop's."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self._moved = asyncio.Event()
        self.kill_at = math.inf
        self.has_hooks = True
        """Whether there is time for preStop."""

    @property
    def is_asked(self) -> bool:
        return self._asked.is_set()

    def ask(self, kill_at: float, *, has_hooks: bool = True) -> None:
        """End by yourself, or be killed at `kill_at`."""
        self.has_hooks = self.has_hooks and has_hooks
        if kill_at < self.kill_at:
            self.kill_at = kill_at
            self._moved.set()
            self._moved = asyncio.Event()
        self._asked.set()

    async def asked(self) -> None:
        await self._asked.wait()

    async def sleep(self, seconds: float) -> None:
        """Sleep, and wake early when the end is asked for."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._asked.wait()

    async def in_time(self, work: asyncio.Future[Any], deadline: Callable[[], float]) -> bool:
        """Wait for `work` until the deadline, asked anew whenever our time moves. Whether it is done."""
        loop = asyncio.get_running_loop()
        while not work.done():
            left = deadline() - loop.time()
            if left <= 0:
                return False
            moved = asyncio.ensure_future(self._moved.wait())
            await asyncio.wait({work, moved}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            moved.cancel()
        return True


async def first_of(*waits: Awaitable[Any]) -> None:
    """Return once one of them is done, and give up those that are not, except for futures of somebody else."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task, wait in zip(tasks, waits, strict=True):
            if task is not wait:
                task.cancel()
