"""The door: how many requests are inside at once, how many bytes of them are kept, and whether it is closing.

Shared by HTTP and gRPC, so that the limits are the balancer's and not each protocol's.
"""

from __future__ import annotations

import asyncio

from fastgen_server.balancer.config import BalancerConfig

OVERLOADED = "overloaded"
"""The code of a refusal because something is full; every other one means that nobody is there."""
RETRY_AFTER_FULL_SECONDS = 1
RETRY_AFTER_NO_REPLICA_SECONDS = 5


class RefusedError(Exception):
    """Not now; the message says why and the client may come again after `retry_after_seconds`."""

    def __init__(self, message: str, *, code: str, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.retry_after_seconds = retry_after_seconds


class Gate:
    """Counts who is inside."""

    def __init__(self, config: BalancerConfig) -> None:
        self._config = config
        self._buffered_bytes = 0
        self._empty = asyncio.Event()
        self._empty.set()
        self.in_flight = 0
        self.draining = False
        """Not ready any more: told to whoever asks /readyz."""
        self.closed = False
        """Takes nothing new; what is inside may finish."""

    def enter(self) -> None:
        """One more request. Raises RefusedError when full or closed; else `leave` must follow."""
        if self.closed:
            raise RefusedError("this balancer is shutting down; try again", code="shutting_down", retry_after_seconds=1)
        if self.in_flight >= self._config.max_in_flight:
            raise RefusedError(
                f"the balancer is full: {self.in_flight} requests in flight (max_in_flight="
                f"{self._config.max_in_flight}); try again shortly",
                code=OVERLOADED,
                retry_after_seconds=RETRY_AFTER_FULL_SECONDS,
            )
        self.in_flight += 1
        self._empty.clear()

    def leave(self) -> None:
        self.in_flight -= 1
        if self.in_flight == 0:
            self._empty.set()

    async def wait_empty(self) -> None:
        await self._empty.wait()

    def keep(self, num_bytes: int) -> None:
        """More body bytes are kept. Raises RefusedError beyond the bound; else `drop` must follow."""
        if self._buffered_bytes + num_bytes > self._config.max_buffered_bytes:
            raise RefusedError(
                f"the balancer keeps {self._buffered_bytes} bytes of request bodies already (max_buffered_bytes="
                f"{self._config.max_buffered_bytes}); try again shortly",
                code=OVERLOADED,
                retry_after_seconds=RETRY_AFTER_FULL_SECONDS,
            )
        self._buffered_bytes += num_bytes

    def drop(self, num_bytes: int) -> None:
        self._buffered_bytes -= num_bytes
