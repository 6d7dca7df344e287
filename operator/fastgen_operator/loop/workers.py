"""Workers that take keys from the queue. What goes wrong with one deployment is tried again, and touches no other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import aiohttp

from fastgen_operator.api.errors import ApiError
from fastgen_operator.key import Key
from fastgen_operator.lease import LeaseLostError
from fastgen_operator.loop.queue import KeyedQueue
from fastgen_operator.metrics import OperatorMetrics
from fastgen_operator.reconcile import Look

log = logging.getLogger("fastgen.operator")

MOST_SECONDS = 120.0
"""A look that takes longer is given up, and tried again."""
AWAITED = (ApiError, LeaseLostError, aiohttp.ClientError, OSError)
"""What happens to everyone who talks to an API server: no traceback."""


class Workers:
    """`look` is called for one key at a time, by as many workers as there are. `on_bug`: something nobody expected."""

    def __init__(
        self,
        queue: KeyedQueue[Key],
        look: Callable[[Key], Awaitable[Look]],
        metrics: OperatorMetrics,
        on_bug: Callable[[Key, Exception], Awaitable[None]],
    ) -> None:
        self._queue, self._look, self._metrics, self._on_bug = queue, look, metrics, on_bug

    async def run(self) -> None:
        """One worker, until cancelled."""
        while True:
            key = await self._queue.get()
            try:
                await self._work(key)
            finally:
                self._queue.done(key)

    async def _work(self, key: Key) -> None:
        context = {"namespace": key.namespace, "deployment": key.name}
        try:
            with self._metrics.reconcile_seconds.time():
                async with asyncio.timeout(MOST_SECONDS):
                    look = await self._look(key)
        except AWAITED as error:
            self._failed()
            delay = self._queue.retry(key)
            words = str(error) or type(error).__name__
            log.warning("%s: %s; again in %.1f s", key, words, delay, extra=context)
        except Exception as error:
            self._failed()
            delay = self._queue.retry(key)
            log.exception("%s: this should not happen; again in %.1f s", key, delay, extra=context)
            await self._tell(key, error)
        else:
            self._went(key, look)

    async def _tell(self, key: Key, error: Exception) -> None:
        try:
            await self._on_bug(key, error)
        except Exception:
            log.exception("%s: nor could that be told", key)

    def _failed(self) -> None:
        self._metrics.reconciles.labels("error").inc()
        self._metrics.errors.labels("reconcile").inc()

    def _went(self, key: Key, look: Look) -> None:
        self._metrics.reconciles.labels(look.result).inc()
        if look.result == "gone":
            self._queue.forget(key)
            return
        if look.try_again:
            self._queue.retry(key)
        else:
            self._queue.succeeded(key)
        if look.again_after_seconds is not None:
            self._queue.add(key, look.again_after_seconds)
