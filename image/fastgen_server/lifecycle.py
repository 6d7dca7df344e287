"""From ready to gone: who may still come in, who may finish, and when the process ends.

SIGTERM ─► not ready ─► linger: still takes requests ─► refuses new ones ─► all finished, or grace over ─► exit 0
                                                                              second signal: at once
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Coroutine
from typing import Any

from fastgen_server.generation import GenerationService

log = logging.getLogger("fastgen.server")
LOST_SECONDS = 300.0
"""An engine that has been down for so long is lost: /healthz says so, and whoever supervises starts anew."""


class Lifecycle:
    """The server's state. `on_drain` callbacks run the moment it stops being ready."""

    def __init__(self, service: GenerationService) -> None:
        self._service = service
        self._draining = asyncio.Event()
        self._hurry = asyncio.Event()
        self._down_since_seconds: float | None = None
        self.on_drain: list[Callable[[], object]] = []

    @property
    def draining(self) -> bool:
        return self._draining.is_set()

    def not_ready_because(self) -> str | None:
        """None while requests are welcome."""
        if self.draining:
            return "shutting down"
        return None if self._service.backend.alive else "the engine is being restarted"

    def watch(self) -> None:
        """Look at the engine; to be called every second or so."""
        if self._service.backend.alive:
            self._down_since_seconds = None
        elif self._down_since_seconds is None:
            self._down_since_seconds = time.monotonic()

    def lost_because(self) -> str | None:
        """None while this process is of any use, or may soon be again."""
        down = 0.0 if self._down_since_seconds is None else time.monotonic() - self._down_since_seconds
        return f"the engine has been down for {down:.0f} s" if down > LOST_SECONDS else None

    def install_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop, signal.Signals(number).name)

    def stop(self, why: str) -> None:
        """Begin to drain; a second time, hurry."""
        if self.draining:
            log.info("%s again: ending what still runs (%d requests)", why, self._service.num_running)
            self._hurry.set()
            return
        self._draining.set()
        log.info(
            "%s: not ready any more; %d running requests have %g s to finish",
            why,
            self._service.num_running,
            self._service.config.grace_seconds,
        )
        for callback in self.on_drain:
            callback()

    async def stopped(self) -> None:
        """Returns once nothing runs any more, after `stop`."""
        await self._draining.wait()
        config = self._service.config
        await self._unless_hurried(asyncio.sleep(config.linger_seconds))
        self._service.accepting = False
        if not await self._unless_hurried(self._service.idle(), config.grace_seconds):
            log.info("ending %d requests that did not finish in time", self._service.num_running)
        self._service.abort_all()
        await self._service.idle()

    async def _unless_hurried(self, work: Coroutine[Any, Any, object], timeout_seconds: float | None = None) -> bool:
        """Whether `work` finished, rather than ran out of time or was cut short by a second signal."""
        tasks: list[asyncio.Task[object]] = [asyncio.create_task(work), asyncio.create_task(self._hurry.wait())]
        done, pending = await asyncio.wait(tasks, timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        return tasks[0] in done
