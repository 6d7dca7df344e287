"""What front end and worker say to each other. Both sides are of one version: the front end starts the worker."""

from __future__ import annotations

import msgspec

from fastgen.config import EngineConfig, EngineInfo
from fastgen.core.events import SequenceFailed, StepStats, TokenEvent
from fastgen.core.sampling_params import SamplingParams
from fastgen.process.framing import framed


class Start(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """First command: which engine to be. Answered by Ready or StartFailed."""

    config: EngineConfig
    log_level: int


class Submit(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A request: one sequence per choice, which share prompt and parameters. Choice i has `seed` + i."""

    sequence_ids: tuple[int, ...]
    prompt_token_ids: tuple[int, ...]
    params: SamplingParams
    seed: int
    priority: int
    tenant: str


class Cancel(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Sequences nobody waits for any more; those that have ended meanwhile are ignored."""

    sequence_ids: tuple[int, ...]


class Ready(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The engine stands."""

    info: EngineInfo


class StartFailed(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The engine could not be made; `kind` names the error's class (fastgen.errors)."""

    kind: str
    message: str


class Notice(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Ends that no step brought: requests refused, sequences cancelled. Not kept waiting for the next step."""

    tokens: list[TokenEvent]
    failures: list[SequenceFailed]


class StepReport(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """One step: all it brought, and the state after it."""

    tokens: list[TokenEvent]
    failures: list[SequenceFailed]
    stats: StepStats


Command = Start | Submit | Cancel
Report = Ready | StartFailed | Notice | StepReport

_encoder = msgspec.msgpack.Encoder()
_command_decoder: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
_report_decoder: msgspec.msgpack.Decoder[Report] = msgspec.msgpack.Decoder(Report)


def encode(message: Command | Report) -> bytes:
    """The message as a frame. Raises FrameError if it is too large."""
    return framed(_encoder.encode(message))


def decode_command(payload: bytes) -> Command:
    return _command_decoder.decode(payload)


def decode_report(payload: bytes) -> Report:
    return _report_decoder.decode(payload)
