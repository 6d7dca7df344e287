"""The worker's loop on its own, against an engine that fails when told to."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from engine_words import INFO, STATS

from fastgen.config import EngineInfo
from fastgen.core.events import Event, SequenceTiming, StepStats, TokenEvent
from fastgen.core.sampling_params import MAX_SEED, SamplingParams
from fastgen.core.sequence import SequenceRequest
from fastgen.errors import TooLongError
from fastgen.process.framing import FrameReader
from fastgen.process.messages import Cancel, Command, Notice, Report, StepReport, Submit, decode_report
from fastgen.process.worker import StepLoop

TIMING = SequenceTiming(0.0, 0.1, 0.2, 0, 0)


class BrittleEngine:
    """One token per sequence and step. Raises where a real one would have met a bug or a broken device."""

    info: EngineInfo = INFO
    eos_token_ids = (2,)

    def __init__(self) -> None:
        self.requests: dict[int, SequenceRequest] = {}
        self.breaks = False

    def submit(self, request: SequenceRequest) -> None:
        if len(request.prompt_token_ids) > 4:
            raise TooLongError("too long by 7", param="prompt")
        self.requests[request.sequence_id] = request

    def cancel(self, sequence_id: int) -> SequenceTiming | None:
        return TIMING if self.requests.pop(sequence_id, None) else None

    def has_work(self) -> bool:
        return bool(self.requests)

    def step(self) -> list[Event]:
        if self.breaks:
            raise RuntimeError("device-side assert")
        return [TokenEvent(sequence_id, 9) for sequence_id in self.requests]

    def stats(self) -> StepStats:
        return STATS


class Commands:
    """An inbox filled by hand."""

    def __init__(self, *commands: Command) -> None:
        self.commands = list(commands)

    def next(self) -> Command:
        return self.commands.pop(0)

    def waiting(self) -> Iterator[Command]:
        while self.commands:
            yield self.commands.pop(0)


class Wire:
    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()
        self._reader = FrameReader()

    def reports(self) -> list[Report]:
        self.ours.setblocking(False)
        try:
            return [decode_report(p) for p in self._reader.feed(self.ours.recv(2**20))]
        except BlockingIOError:
            return []


@pytest.fixture
def wire() -> Iterator[Wire]:
    made = Wire()
    yield made
    made.ours.close()
    made.theirs.close()


def submit(*sequence_ids: int, prompt: tuple[int, ...] = (1,), seed: int = 5) -> Submit:
    return Submit(sequence_ids, prompt, SamplingParams(), seed, 0, "t")


def test_choices_have_seeds_of_their_own_that_never_overflow(wire: Wire) -> None:
    engine = BrittleEngine()
    StepLoop(engine, Commands(submit(1, 2, 3, seed=MAX_SEED - 1)), wire.theirs).turn()
    assert [r.seed for r in engine.requests.values()] == [MAX_SEED - 1, MAX_SEED, 0]
    assert {r.eos_token_ids for r in engine.requests.values()} == {(2,)}


def test_refusals_and_cancellations_do_not_wait_for_a_step(wire: Wire) -> None:
    loop = StepLoop(BrittleEngine(), Commands(submit(1, 2), submit(3, prompt=(1,) * 9), Cancel((1, 77))), wire.theirs)
    loop.turn()
    notice, step = wire.reports()
    assert isinstance(notice, Notice)
    assert notice.tokens == [TokenEvent(1, None, finish="cancelled", timing=TIMING)]
    (refusal,) = notice.failures
    assert (refusal.sequence_id, refusal.code, refusal.param) == (3, "context_length_exceeded", "prompt")
    assert isinstance(step, StepReport)
    assert [event.sequence_id for event in step.tokens] == [2]


def test_a_failing_step_fails_every_live_sequence_with_a_reason_and_is_raised(wire: Wire) -> None:
    engine = BrittleEngine()
    loop = StepLoop(engine, Commands(submit(1), submit(2)), wire.theirs)
    loop.turn()
    wire.reports()
    engine.breaks = True
    with pytest.raises(RuntimeError, match="device-side assert"):
        loop.run()
    (report,) = wire.reports()
    assert isinstance(report, StepReport)
    assert [failure.sequence_id for failure in report.failures] == [1, 2]
    assert {failure.code for failure in report.failures} == {"engine_dead"}
    assert "device-side assert" in report.failures[0].message
