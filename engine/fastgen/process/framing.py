"""Frames on a stream socket: four bytes of length (little-endian), then as many bytes of payload."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from fastgen.errors import FastGenError

MAX_FRAME_BYTES = 64 * 2**20
"""More is a broken peer, or a prompt of over ten million tokens."""

_HEADER = struct.Struct("<I")


class FrameError(FastGenError):
    """A frame is larger than MAX_FRAME_BYTES."""


def framed(payload: bytes) -> bytes:
    """`payload` as one frame. Raises FrameError if it is too large."""
    _check(len(payload))
    return _HEADER.pack(len(payload)) + payload


class FrameReader:
    """Cuts a stream that arrives in arbitrary pieces back into payloads."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Every payload that is complete now. Raises FrameError for a length out of bounds, before waiting for it."""
        self._buffer += data
        start = 0
        while len(self._buffer) - start >= _HEADER.size:
            (length,) = _HEADER.unpack_from(self._buffer, start)
            _check(length)
            end = start + _HEADER.size + length
            if len(self._buffer) < end:
                break
            yield bytes(self._buffer[start + _HEADER.size : end])
            start = end
        del self._buffer[:start]


def _check(length: int) -> None:
    if length > MAX_FRAME_BYTES:
        raise FrameError(f"a message of {length} bytes is larger than the {MAX_FRAME_BYTES} that a frame may hold")
