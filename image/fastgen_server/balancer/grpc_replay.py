"""A gRPC request's messages: read from the client once, kept until the answer begins, sent as often as needed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc

from fastgen_server.balancer.gate import Gate, RefusedError
from fastgen_server.balancer.grpc_wire import EOF

FIRST_MESSAGE_SECONDS = 0.1
"""How long the first message may keep us from sending the call on: some streams begin by listening."""


class Replay:
    """Belongs to one call. One attempt reads at a time; what it had begun to read is not lost with it."""

    def __init__(self, context: grpc.aio.ServicerContext[Any, Any], gate: Gate, *, most_bytes: int) -> None:
        self._context = context
        self._gate = gate
        self._most_bytes = most_bytes
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._keeping = True
        self._ended = False
        self._reading: asyncio.Task[Any] | None = None
        self.complete = True
        """Everything the client sent is still here, so that another replica can be sent the same."""

    async def first(self) -> bytes:
        """The first message, or nothing where the client waits to be spoken to."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_MESSAGE_SECONDS):
                await self._read()
        return self._kept[0] if self._kept else b""

    async def messages(self) -> AsyncIterator[bytes]:
        """All messages from the first on, as they come."""
        at = 0
        while True:
            while at < len(self._kept):
                yield self._kept[at]
                at += 1
            if self._ended:
                return
            message = await self._read()
            if message is not None:  # It was not kept.
                yield message

    async def _read(self) -> bytes | None:
        """Read one more message: kept, and None returned, or returned if it is not to be kept."""
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._context.read())
        message = await asyncio.shield(self._reading)
        self._reading = None
        if message is EOF:
            self._ended = True
            return None
        if self._keeping and self._keep(message):
            return None
        self._keeping = False
        return bytes(message)

    def _keep(self, message: bytes) -> bool:
        if self._kept_bytes + len(message) > self._most_bytes:
            self.complete = False
            return False
        try:
            self._gate.keep(len(message))
        except RefusedError:
            if not self._kept:
                raise
            self.complete = False
            return False
        self._kept_bytes += len(message)
        self._kept.append(message)
        return True

    def answer_began(self) -> None:
        """Nothing more needs to be kept."""
        self._keeping = False

    def close(self) -> None:
        self._gate.drop(self._kept_bytes)
        self._kept_bytes = 0
        if self._reading is not None:
            self._reading.add_done_callback(lambda task: task.cancelled() or task.exception())
            self._reading.cancel()
