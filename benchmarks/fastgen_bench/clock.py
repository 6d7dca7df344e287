"""Is the generator itself keeping up? A late generator measures itself, not the server."""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple

TICK_SECONDS = 0.02
MAX_CPU_SHARE = 0.85
MAX_LAG_SECONDS = 0.05


class GeneratorHealth(NamedTuple):
    """How busy the generator's process was. A lag is how late its event loop woke up."""

    cpu_share: float
    """CPU seconds per second; it has one thread, so 1.0 is all it can do."""
    p99_lag_seconds: float

    @property
    def warning(self) -> str | None:
        if self.cpu_share <= MAX_CPU_SHARE and self.p99_lag_seconds <= MAX_LAG_SECONDS:
            return None
        return (
            f"the generator was short of CPU ({self.cpu_share:.0%} of one core, p99 lag "
            f"{self.p99_lag_seconds * 1000:.0f} ms): part of the latency is its own. Run it on another machine, "
            "or with less load."
        )


class GeneratorWatch:
    """Async context manager: samples the loop's lag while a measurement runs."""

    def __init__(self) -> None:
        self._lags: list[float] = []

    async def __aenter__(self) -> GeneratorWatch:
        self._began = time.monotonic()
        self._cpu_began = time.process_time()
        self._task = asyncio.create_task(self._tick())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._ended = time.monotonic()
        self._cpu_ended = time.process_time()

    def health(self) -> GeneratorHealth:
        wall = max(self._ended - self._began, 1e-9)
        lags = sorted(self._lags)
        worst = lags[min(len(lags) - 1, int(0.99 * len(lags)))] if lags else 0.0
        return GeneratorHealth((self._cpu_ended - self._cpu_began) / wall, worst)

    async def _tick(self) -> None:
        while True:
            due = time.monotonic() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            self._lags.append(max(0.0, time.monotonic() - due))
