"""Between Python's words and those of proto/fastgen/v1, on the client's side."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, cast

import grpc

from fastgen.calls import Prompt, Response, TextDelta, TokenLogprob, kind_of
from fastgen.core.events import FinishReason, SequenceTiming
from fastgen.core.sampling_params import SamplingParams
from fastgen.core.sla import Receipt
from fastgen.errors import (
    REQUEST_ERRORS,
    CancelledError,
    InvalidRequestError,
    OverloadedError,
    RequestError,
    UnknownModelError,
)
from fastgen.v1 import generation_pb2 as pb

ERROR_CODE, ERROR_PARAM, RETRY_AFTER = "fastgen-error-code", "fastgen-error-param", "retry-after"
_FINISH: dict[int, FinishReason | None] = {
    pb.FINISH_REASON_UNSPECIFIED: None,
    pb.FINISH_REASON_STOP: "stop",
    pb.FINISH_REASON_LENGTH: "length",
    pb.FINISH_REASON_CANCELLED: "cancelled",
}
_BY_STATUS: dict[str, type[RequestError]] = {
    "INVALID_ARGUMENT": InvalidRequestError,
    "NOT_FOUND": UnknownModelError,
    "RESOURCE_EXHAUSTED": OverloadedError,
    "UNAVAILABLE": OverloadedError,
    "CANCELLED": CancelledError,
}
"""For servers and proxies that do not say more."""


def request_of(prompt: Prompt, params: SamplingParams, *, model: str = "", priority: int = 0) -> pb.GenerateRequest:
    """One prompt as a message. Raises InvalidRequestError where it is none."""
    request = pb.GenerateRequest(model=model, priority=priority, sampling=_sampling(params))
    kind = kind_of(prompt)
    if kind is str:
        request.text = cast(str, prompt)
    elif kind is int:
        request.token_ids.ids.extend(cast(Iterable[int], prompt))
    else:
        messages = cast(Iterable[Mapping[str, Any]], prompt)
        request.chat.messages.extend(
            pb.ChatMessage(role=m.get("role", ""), content=m.get("content", "")) for m in messages
        )
    return request


def _sampling(params: SamplingParams) -> pb.Sampling:
    """What differs from the defaults; the server fills in the rest."""
    given = {
        field.name: getattr(params, field.name)
        for field in dataclasses.fields(params)
        if getattr(params, field.name) != field.default
    }
    return pb.Sampling(**given)


def responses_of(answer: pb.GenerateResponse) -> list[Response]:
    """Every choice, in order of index."""
    return [
        Response(
            text=choice.text,
            prompt_tokens=answer.usage.prompt_tokens,
            generated_tokens=len(choice.token_ids),
            token_ids=tuple(choice.token_ids),
            finish_reason=_FINISH[choice.finish_reason] or "cancelled",
            timing=_timing(choice.timing),
            index=choice.index,
            logprobs=_logprobs(choice),
            receipt=_receipt(answer.usage),
        )
        for choice in answer.choices
    ]


def deltas_of(chunk: pb.GenerateChunk) -> list[TextDelta]:
    """What is new in a chunk of a stream; nothing in the one that brings the usage."""
    return [
        TextDelta(
            index=choice.index,
            text=choice.text,
            token_ids=tuple(choice.token_ids),
            logprobs=_logprobs(choice),
            finish_reason=_FINISH[choice.finish_reason],
            timing=_timing(choice.timing) if choice.HasField("timing") else None,
        )
        for choice in chunk.choices
    ]


def _timing(timing: pb.Timing) -> SequenceTiming:
    return SequenceTiming(**{name: getattr(timing, name) for name in SequenceTiming._fields})


def _logprobs(choice: pb.Choice) -> tuple[TokenLogprob, ...]:
    return tuple(
        TokenLogprob(item.token_id, item.logprob, tuple((top.token_id, top.logprob) for top in item.top))
        for item in choice.logprobs
    )


def _receipt(usage: pb.Usage) -> Receipt | None:
    if not usage.HasField("sla"):
        return None
    sla = usage.sla
    return Receipt(
        effective=sla.effective,
        first_token_seconds=sla.first_token_seconds if sla.HasField("first_token_seconds") else None,
        allowed_first_token_seconds=sla.allowed_first_token_seconds,
        worst_gap_ema_seconds=sla.worst_gap_ema_seconds if sla.HasField("worst_gap_ema_seconds") else None,
        allowed_gap_seconds=sla.allowed_gap_seconds,
        reason=sla.reason,
    )


def error_of(error: grpc.RpcError, address: str) -> RequestError:
    """The typed error a failed call stands for: by the server's own code, else by the gRPC status."""
    call = cast(grpc.Call, error)
    status, details = call.code(), call.details() or ""
    trailers = {key: value for key, value in (call.trailing_metadata() or ()) if isinstance(value, str)}
    kind = REQUEST_ERRORS.get(trailers.get(ERROR_CODE, ""))
    if kind is None and status is grpc.StatusCode.UNAVAILABLE and RETRY_AFTER not in trailers:
        return RequestError(f"no answer from {address}: {details}. Is it running? `fastgen ps` lists what does")
    if kind is None:
        kind = _BY_STATUS.get(status.name, RequestError)
        details = details or f"the call ended with {status.name}"
    if issubclass(kind, OverloadedError):
        return kind(details, retry_after_seconds=int(trailers.get(RETRY_AFTER, "1")))
    return kind(details, param=trailers.get(ERROR_PARAM))
