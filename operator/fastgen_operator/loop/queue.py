"""A queue of keys: each once, each worked on by one worker at a time, with delays.

add ──► ready ──get──► in work ──done──► (again, if it was added meanwhile)
add(after) ──► delayed ──► ready
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from fastgen_operator.loop.backoff import backoff_seconds

KeyT = TypeVar("KeyT", bound=Hashable)

GAP_SECONDS = 0.1
"""A key that was added while it was worked on waits so long: what comes in a burst is looked at together."""


class KeyedQueue(Generic[KeyT]):
    """Lives in one event loop. A key that waits is not added again; one in work is looked at once more afterwards."""

    def __init__(self, luck: Callable[[], float] = random.random) -> None:
        self._ready: deque[KeyT] = deque()
        self._waiting: set[KeyT] = set()
        self._in_work: set[KeyT] = set()
        self._again: set[KeyT] = set()
        self._delayed: dict[KeyT, asyncio.TimerHandle] = {}
        self._failures: dict[KeyT, int] = {}
        self._something = asyncio.Event()
        self._luck = luck

    def __len__(self) -> int:
        """Keys that wait for a worker."""
        return len(self._ready)

    def add(self, key: KeyT, after_seconds: float = 0.0) -> None:
        """Look at `key`: as soon as a worker is free, or then. The sooner of two times counts."""
        if after_seconds > 0.0:
            self._add_later(key, after_seconds)
            return
        self._cancel(key)
        if key in self._in_work:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._ready.append(key)
            self._something.set()

    async def get(self) -> KeyT:
        """The next key; `done` must follow."""
        while not self._ready:
            self._something.clear()
            await self._something.wait()
        key = self._ready.popleft()
        self._waiting.discard(key)
        self._in_work.add(key)
        return key

    def done(self, key: KeyT) -> None:
        """The worker has left it."""
        self._in_work.discard(key)
        if key in self._again:
            self._again.discard(key)
            self._add_later(key, GAP_SECONDS)

    def retry(self, key: KeyT) -> float:
        """Look again after a while that grows with each failure in a row. The seconds until then."""
        self._failures[key] = self._failures.get(key, 0) + 1
        delay = backoff_seconds(self._failures[key], self._luck())
        self._add_later(key, delay)
        return delay

    def succeeded(self, key: KeyT) -> None:
        """The next failure is the first one again."""
        self._failures.pop(key, None)

    def forget(self, key: KeyT) -> None:
        """It is gone: nothing is planned for it any more."""
        self._cancel(key)
        self._failures.pop(key, None)

    def close(self) -> None:
        """Plan nothing any more."""
        for key in list(self._delayed):
            self._cancel(key)

    def _add_later(self, key: KeyT, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        planned = self._delayed.get(key)
        if planned is not None and planned.when() <= loop.time() + seconds:
            return
        self._cancel(key)
        self._delayed[key] = loop.call_later(seconds, self._due, key)

    def _due(self, key: KeyT) -> None:
        self._delayed.pop(key, None)
        self.add(key)

    def _cancel(self, key: KeyT) -> None:
        planned = self._delayed.pop(key, None)
        if planned is not None:
            planned.cancel()
