"""The few protobuf messages the balancer speaks itself, written by hand: its image has no protobuf library.

grpc.health.v1: HealthCheckRequest{service=1: string}, HealthCheckResponse{status=1: enum}.
google.rpc: Status{code=1, message=2, details=3: Any{type_url=1, value=2}},
    RetryInfo{retry_delay=1: Duration{seconds=1}}.
"""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio

EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined]
"""What a read returns after the last message; the published types do not know it."""

HEALTH_CHECK = "/grpc.health.v1.Health/Check"
HEALTH_WATCH = "/grpc.health.v1.Health/Watch"
SERVING = b"\x08\x01"
NOT_SERVING = b"\x08\x02"

_RETRY_INFO = b"type.googleapis.com/google.rpc.RetryInfo"


def retry_details(code: grpc.StatusCode, message: str, retry_after_seconds: int) -> bytes:
    """The `grpc-status-details-bin` of an error that says when to come again."""
    number = code.value[0]
    delay = _bytes_field(1, _varint_field(1, retry_after_seconds))
    info = _bytes_field(1, _RETRY_INFO) + _bytes_field(2, delay)
    return _varint_field(1, number) + _bytes_field(2, message.encode()) + _bytes_field(3, info)


def _varint_field(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes_field(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
