"""From the reader's callback to the coroutine that waits: deltas of a request, in order, never blocking the reader."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import replace

from fastgen.core.events import SequenceFailed, TokenEvent
from fastgen.errors import REQUEST_ERRORS, FastGenError, RequestError
from fastgen.text.stream import TextDelta, TextStream


class Mailbox:
    """What has arrived for one request. One reader; filled in the same thread.

    It is as long as the answer at most: a consumer that does not read cannot hold up anybody else.
    """

    def __init__(self) -> None:
        self._items: deque[TextDelta] = deque()
        self._error: FastGenError | None = None
        self._waiter: asyncio.Future[None] | None = None

    def put(self, delta: TextDelta) -> None:
        """Add a delta. After an error nothing counts: the request is over, though other choices of it still ran."""
        if self._error is None:
            self._items.append(delta)
            self._wake()

    def fail(self, error: FastGenError) -> None:
        """End the request: raised from `take` once everything before it has been taken."""
        self._error = self._error or error
        self._wake()

    async def take(self) -> list[TextDelta]:
        """Everything that has arrived since the last time; waits for at least one delta. One wake-up a step."""
        while not self._items:
            if self._error is not None:
                raise self._error
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        items = list(self._items)
        self._items.clear()
        return items

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Choice:
    """One sequence of a request as the front end sees it."""

    def __init__(self, stream: TextStream, mailbox: Mailbox) -> None:
        self._stream = stream
        self._mailbox = mailbox
        self._is_stopping = False
        """A stop string has ended the text; the engine has been told, and its last word is awaited."""

    def accept(self, event: TokenEvent) -> bool:
        """Pass on what an event brought. True where a stop string ended the text: cancel the sequence then.

        The text before the stop string goes out at once, its `finish_reason` with the engine's last event, which
        knows where the time went.
        """
        if self._is_stopping:
            if event.finish is not None:
                self._mailbox.put(TextDelta(self._stream.index, "", (), (), "stop", event.timing))
            return False
        delta = self._stream.push(event)
        self._is_stopping = self._stream.stopped_by_string and event.finish is None
        self._mailbox.put(replace(delta, finish_reason=None) if self._is_stopping else delta)
        return self._is_stopping

    def fail(self, failure: SequenceFailed) -> None:
        """End with the error the engine told."""
        kind = REQUEST_ERRORS.get(failure.code, RequestError)
        error = kind(failure.message)
        error.param = failure.param
        self.fail_with(error)

    def fail_with(self, error: FastGenError) -> None:
        if self._is_stopping:
            # The text was complete; only the engine's own record of it is lost.
            self._mailbox.put(TextDelta(self._stream.index, "", (), (), "stop", None))
        else:
            self._mailbox.fail(error)
