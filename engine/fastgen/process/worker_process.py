"""Starting a worker process, and the connection to it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
from collections.abc import Callable

from fastgen.config import EngineConfig, EngineInfo
from fastgen.errors import EngineDeadError, FastGenError, ModelError, UsageError
from fastgen.process.framing import FrameReader
from fastgen.process.messages import (
    Command,
    Notice,
    Ready,
    Report,
    Start,
    StartFailed,
    StepReport,
    decode_report,
    encode,
)

logger = logging.getLogger(__name__)

_STDERR = 2


class WorkerProcess:
    """A worker that stands: its engine is loaded and takes commands."""

    def __init__(self, process: asyncio.subprocess.Process, connection: _Connection, info: EngineInfo) -> None:
        self._process = process
        self._connection = connection
        self.info = info

    @classmethod
    async def start(cls, config: EngineConfig) -> WorkerProcess:
        """Start one and wait until its engine stands.

        Raises what the engine raised (ModelError, UsageError), or EngineDeadError if the process died.
        """
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-P", "-m", "fastgen.process.worker", "--fd", str(theirs.fileno())),
                    pass_fds=(theirs.fileno(),),
                    stdin=asyncio.subprocess.DEVNULL,
                    # Progress bars and logs go where ours go; our stdout is not its to write to.
                    stdout=_STDERR,
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
                )
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_connection(_Connection, sock=ours)
        except BaseException:
            ours.close()
            raise
        try:
            connection.send(Start(config, logging.getLogger("fastgen").getEffectiveLevel()))
            info = await connection.opening
        except BaseException as error:
            connection.close()
            await _kill(process)
            if isinstance(error, EngineDeadError):
                raise EngineDeadError(f"the engine process ended while starting, {_how(process)}") from None
            raise
        return cls(process, connection, info)

    @property
    def pid(self) -> int:
        return self._process.pid

    def listen(self, on_news: Callable[[Notice | StepReport], None], on_death: Callable[[], None]) -> None:
        """Hand over every report, and at last the death of the process, once; in the event loop's thread."""
        self._connection.listen(on_news, on_death)

    def send(self, command: Command) -> None:
        """Give a command. To a dying process it is lost; its death is told all the same. Raises FrameError."""
        self._connection.send(command)

    async def reap(self) -> str:
        """Make sure it is gone; how it ended, in words."""
        await _kill(self._process)
        return _how(self._process)

    async def close(self, timeout_seconds: float) -> None:
        """End it: it goes by itself when the connection closes, and is killed if it has not by then."""
        self._connection.close()
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._process.wait()
        except TimeoutError:
            logger.warning("the engine process %d did not end in %g s; killing it", self.pid, timeout_seconds)
        finally:
            await _kill(self._process)


class _Connection(asyncio.Protocol):
    """Our end of the socketpair."""

    def __init__(self) -> None:
        self.opening: asyncio.Future[EngineInfo] = asyncio.get_running_loop().create_future()
        """Settled by the worker's first report, or by its death."""
        self._frames = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._on_news: Callable[[Notice | StepReport], None] | None = None
        self._on_death: Callable[[], None] | None = None
        self._is_lost = False

    def listen(self, on_news: Callable[[Notice | StepReport], None], on_death: Callable[[], None]) -> None:
        self._on_news, self._on_death = on_news, on_death
        if self._is_lost:
            self._tell_death()

    def send(self, command: Command) -> None:
        frame = encode(command)
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        for payload in self._frames.feed(data):
            self._take(decode_report(payload))

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        if not self.opening.done():
            self.opening.set_exception(EngineDeadError("the engine process ended while starting"))
        self._tell_death()

    def _take(self, report: Report) -> None:
        if isinstance(report, (Notice, StepReport)):
            if self._on_news is not None:
                self._on_news(report)
        elif not self.opening.done():
            if isinstance(report, Ready):
                self.opening.set_result(report.info)
            else:
                self.opening.set_exception(_start_error(report))

    def _tell_death(self) -> None:
        if self._on_death is not None:
            tell, self._on_death = self._on_death, None
            tell()


def _start_error(report: StartFailed) -> FastGenError:
    """The worker's error as what it was; a bug in the worker is a plain FastGenError that says so."""
    for kind in (ModelError, UsageError):
        if report.kind == kind.__name__:
            return kind(report.message)
    return FastGenError(f"the engine could not start: {report.message}")


async def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        # Shielded: whoever cancels us must not leave a zombie behind.
        await asyncio.shield(process.wait())


def _how(process: asyncio.subprocess.Process) -> str:
    code = process.returncode
    if code is None:
        return "still running"
    return f"with exit code {code}" if code >= 0 else f"killed by signal {-code}"
