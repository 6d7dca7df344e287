"""What one side says, the other hears: whole, in order, however the stream is cut."""

from __future__ import annotations

import struct

import pytest
from engine_words import INFO, STATS
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgen.config import EngineConfig
from fastgen.core.events import SequenceFailed, SequenceTiming, TokenEvent
from fastgen.core.sampling_params import MAX_SEED, SamplingParams
from fastgen.process.framing import MAX_FRAME_BYTES, FrameError, FrameReader, framed
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
    decode_report,
    encode,
)

PARAMS = SamplingParams(stop=("a", "😀"), stop_token_ids=(1, 2), seed=MAX_SEED, logprobs=3, top_p=0.5)
TOKENS = [
    TokenEvent(1, 5, -0.25, ((5, -0.25), (6, -1.5)), "length", SequenceTiming(0.1, 0.2, 0.3, 16, 1)),
    TokenEvent(2, None, finish="cancelled"),
    TokenEvent(2**62, 7),
]
FAILURES = [SequenceFailed(3, "overloaded", "full", "prompt")]


def payload(frame: bytes) -> bytes:
    (only,) = FrameReader().feed(frame)
    return only


@pytest.mark.parametrize(
    "command",
    [
        Start(EngineConfig(model="folder", kv_bytes=123, composition="whole-prompt"), 20),
        Submit((1, 2, 3), tuple(range(1000)), PARAMS, MAX_SEED, -4, "tenant"),
        Cancel((7, 8)),
    ],
    ids=lambda c: type(c).__name__,
)
def test_commands_arrive_as_they_were(command: Command) -> None:
    assert decode_command(payload(encode(command))) == command


@pytest.mark.parametrize(
    "report",
    [Ready(INFO), StartFailed("ModelError", "no"), Notice(TOKENS, FAILURES), StepReport(TOKENS, FAILURES, STATS)],
    ids=lambda r: type(r).__name__,
)
def test_reports_arrive_as_they_were(report: Report) -> None:
    arrived = decode_report(payload(encode(report)))
    assert arrived == report
    if isinstance(arrived, StepReport):
        assert isinstance(arrived.tokens[0], TokenEvent)
        assert isinstance(arrived.tokens[0].timing, SequenceTiming)


@given(payloads=st.lists(st.binary(max_size=40)), cuts=st.lists(st.integers(1, 9), min_size=1))
@settings(max_examples=200, deadline=None)
def test_any_cut_of_the_stream_gives_the_same_frames(payloads: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(map(framed, payloads))
    got: list[bytes] = []
    reader, place, turn = FrameReader(), 0, 0
    while place < len(stream):
        size = cuts[turn % len(cuts)]
        got += reader.feed(stream[place : place + size])
        place, turn = place + size, turn + 1
    assert got == payloads


def test_a_length_out_of_bounds_is_refused_before_it_is_waited_for() -> None:
    with pytest.raises(FrameError, match=str(MAX_FRAME_BYTES + 1)):
        list(FrameReader().feed(struct.pack("<I", MAX_FRAME_BYTES + 1)))
    with pytest.raises(FrameError):
        framed(b"x" * (MAX_FRAME_BYTES + 1))
