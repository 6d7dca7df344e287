"""The engine process: `python -m fastgen.process.worker --fd N`, N being its end of a socketpair.

Started by AsyncEngine and by nobody else. A thread reads commands, so that the parent's death (the end
of the stream) ends this process at once, even in the middle of loading or of a long step; the main
thread steps while there is work, and sleeps when there is none.
"""

from __future__ import annotations

import argparse
import logging
import os
import queue
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Iterable, Sequence
from typing import NoReturn, Protocol

from fastgen.config import EngineInfo
from fastgen.core.events import Event, SequenceFailed, SequenceTiming, StepStats, TokenEvent
from fastgen.core.sampling_params import MAX_SEED
from fastgen.core.sequence import SequenceRequest
from fastgen.errors import EngineDeadError, ModelError, RequestError, UsageError
from fastgen.process.framing import FrameReader
from fastgen.process.messages import (
    Cancel,
    Command,
    Notice,
    Ready,
    Report,
    Start,
    StartFailed,
    StepReport,
    Submit,
    decode_command,
    encode,
)

logger = logging.getLogger("fastgen.worker")

EXIT_STEP_FAILED = 1
EXIT_START_FAILED = 2
_READ_BYTES = 2**18


class SteppedEngine(Protocol):
    """What the loop needs of `fastgen.engine.Engine`."""

    info: EngineInfo

    @property
    def eos_token_ids(self) -> tuple[int, ...]: ...

    def submit(self, request: SequenceRequest) -> None: ...

    def cancel(self, sequence_id: int) -> SequenceTiming | None: ...

    def has_work(self) -> bool: ...

    def step(self) -> list[Event]: ...

    def stats(self) -> StepStats: ...


class CommandSource(Protocol):
    """Where the loop gets its commands: `Inbox`."""

    def next(self) -> Command: ...

    def waiting(self) -> Iterable[Command]: ...


class Inbox:
    """Commands from the front end, read by a thread of their own."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
        threading.Thread(target=self._read, name="commands", daemon=True).start()

    def next(self) -> Command:
        """The next command; sleeps until there is one."""
        return self._commands.get()

    def waiting(self) -> Iterable[Command]:
        """The commands that are here already."""
        while not self._commands.empty():
            yield self._commands.get()

    def _read(self) -> None:
        reader = FrameReader()
        try:
            while data := self._sock.recv(_READ_BYTES):
                for payload in reader.feed(data):
                    self._commands.put(decode_command(payload))
        except ConnectionError:
            pass
        except Exception:
            traceback.print_exc()
            _end(EXIT_STEP_FAILED)
        # The front end is gone, and with it everybody who waits for an answer.
        _end(0)


class StepLoop:
    """Commands in, steps, one report a step out."""

    def __init__(self, engine: SteppedEngine, inbox: CommandSource, sock: socket.socket) -> None:
        self._engine = engine
        self._inbox = inbox
        self._sock = sock
        self._live: set[int] = set()
        self._cancelled: list[TokenEvent] = []
        self._refused: list[SequenceFailed] = []

    def run(self) -> NoReturn:
        """Until the process ends. An error in a step fails every live sequence and is raised."""
        try:
            while True:
                self.turn()
        except Exception as error:
            what = f"the engine failed in a step: {type(error).__name__}: {error}"
            failures = [SequenceFailed(i, EngineDeadError.code, what) for i in sorted(self._live)]
            send(self._sock, StepReport([], failures, self._engine.stats()))
            raise

    def turn(self) -> None:
        """Take what commands there are, waiting for one only where there is nothing else to do; then step once."""
        if not self._engine.has_work():
            self._obey(self._inbox.next())
        for command in self._inbox.waiting():
            self._obey(command)
        if self._cancelled or self._refused:
            send(self._sock, Notice(self._cancelled, self._refused))
            self._cancelled, self._refused = [], []
        if self._engine.has_work():
            self._step()

    def _step(self) -> None:
        # Sequences that are not live any more have had their last word, in a notice.
        events = [event for event in self._engine.step() if event.sequence_id in self._live]
        tokens = [event for event in events if isinstance(event, TokenEvent)]
        failures = [event for event in events if isinstance(event, SequenceFailed)]
        self._live.difference_update(event.sequence_id for event in tokens if event.finish is not None)
        self._live.difference_update(failure.sequence_id for failure in failures)
        send(self._sock, StepReport(tokens, failures, self._engine.stats()))

    def _obey(self, command: Command) -> None:
        if isinstance(command, Submit):
            for index, sequence_id in enumerate(command.sequence_ids):
                self._submit(command, index, sequence_id)
        elif isinstance(command, Cancel):
            for sequence_id in command.sequence_ids:
                timing = self._engine.cancel(sequence_id)
                if timing is not None:
                    self._live.discard(sequence_id)
                    self._cancelled.append(TokenEvent(sequence_id, None, finish="cancelled", timing=timing))

    def _submit(self, command: Submit, index: int, sequence_id: int) -> None:
        request = SequenceRequest(
            sequence_id,
            command.prompt_token_ids,
            command.params,
            seed=(command.seed + index) % (MAX_SEED + 1),
            eos_token_ids=self._engine.eos_token_ids,
            priority=command.priority,
            tenant=command.tenant,
        )
        try:
            self._engine.submit(request)
        except RequestError as error:
            self._refused.append(SequenceFailed(sequence_id, error.code, error.message, error.param))
        else:
            self._live.add(sequence_id)


def send(sock: socket.socket, report: Report) -> None:
    sock.sendall(encode(report))


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Serve one front end until it is gone."""
    parser = argparse.ArgumentParser(prog="python -m fastgen.process.worker", description=__doc__)
    parser.add_argument("--fd", type=int, required=True, help="this process's end of the socketpair")
    fd: int = parser.parse_args(arguments).fd
    # Ctrl-C reaches the whole group; the front end decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=fd) as sock:
        inbox = Inbox(sock)
        start = inbox.next()
        if not isinstance(start, Start):
            raise SystemExit("the first command must be Start")
        logging.basicConfig(level=start.log_level, format="%(levelname)s %(name)s: %(message)s")
        try:
            StepLoop(_engine(start, sock), inbox, sock).run()
        except BrokenPipeError:
            _end(0)
        except Exception:
            traceback.print_exc()
            _end(EXIT_STEP_FAILED)


def _engine(start: Start, sock: socket.socket) -> SteppedEngine:
    """The engine, once it stands; otherwise tells why not, and ends the process."""
    try:
        # Here and not above: importing takes seconds, and its failure is a failure to start.
        from fastgen.engine import Engine

        engine = Engine(start.config)
    except Exception as error:
        known = isinstance(error, (ModelError, UsageError))
        if not known:
            traceback.print_exc()
        what = str(error) if known else f"{type(error).__name__}: {error}"
        send(sock, StartFailed(type(error).__name__, what))
        _end(EXIT_START_FAILED)
    send(sock, Ready(engine.info))
    return engine


def _end(code: int) -> NoReturn:
    """End now, from any thread: no destructors of device libraries, which can take seconds or hang."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
