"""Every error FastGen raises on purpose, each with what to do about it in its message.

A user's mistake is a `UsageError`; a request that cannot be served is a `RequestError` and carries the
HTTP status and gRPC code it maps to, so that no layer has to guess. Anything else is a bug.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FastGenError(Exception):
    """The root: `except fastgen.FastGenError` catches what FastGen says, and no bug."""


class UsageError(FastGenError, ValueError):
    """Something the caller wrote is wrong: an unknown option, a value out of range."""


class UnknownOptionError(UsageError):
    """An option nobody knows. The message suggests the nearest one that exists."""

    def __init__(self, name: str, known: Iterable[str], where: str) -> None:
        choices = sorted(known)
        near = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(choices)}"
        super().__init__(f"unknown option '{name}' for {where}; {hint}")
        self.name = name


class ModelError(FastGenError):
    """The model folder or hub id cannot be served: missing, unsupported, or inconsistent."""


class RequestError(FastGenError):
    """One request ends with this error; the engine goes on."""

    code = "internal_error"
    http_status = 500
    grpc_status = "INTERNAL"

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class InvalidRequestError(RequestError, ValueError):
    """The request is malformed or out of range; `param` names the field."""

    code = "invalid_request_error"
    http_status = 400
    grpc_status = "INVALID_ARGUMENT"


class TooLongError(InvalidRequestError):
    """Prompt and answer can never fit; the message holds the numbers."""

    code = "context_length_exceeded"


class UnknownModelError(RequestError):
    """Asked for a model this server does not serve."""

    code = "model_not_found"
    http_status = 404
    grpc_status = "NOT_FOUND"


class OverloadedError(RequestError):
    """The queue is full; try again after `retry_after_seconds`."""

    code = "overloaded"
    http_status = 503
    grpc_status = "RESOURCE_EXHAUSTED"

    def __init__(self, message: str, *, retry_after_seconds: int = 1) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class EngineDeadError(RequestError):
    """The engine process ended while this request was waiting or running."""

    code = "engine_dead"
    http_status = 503
    grpc_status = "UNAVAILABLE"


class OutOfMemoryError(RequestError):
    """The device ran out of memory in the step this request was part of."""

    code = "out_of_memory"
    http_status = 503
    grpc_status = "RESOURCE_EXHAUSTED"


class ShuttingDownError(RequestError):
    """The server drains: it takes no new requests, or ended this one when its grace was over."""

    code = "shutting_down"
    http_status = 503
    grpc_status = "UNAVAILABLE"


class CancelledError(RequestError):
    """The request was cancelled by its client."""

    code = "cancelled"
    http_status = 499
    grpc_status = "CANCELLED"


REQUEST_ERRORS: dict[str, type[RequestError]] = {
    kind.code: kind
    for kind in (
        RequestError,
        InvalidRequestError,
        TooLongError,
        UnknownModelError,
        OverloadedError,
        EngineDeadError,
        OutOfMemoryError,
        ShuttingDownError,
        CancelledError,
    )
}
"""By code: how an error that crossed a process boundary is raised again on this side."""
