"""How much work a request is, told from its bytes without decoding them.

A request's work is its prompt tokens plus the tokens it asks for. Neither is known before a tokenizer has
seen it, so both are estimated: four bytes of body to a token, and `max_tokens` (times `n`) found by one
pass of a regular expression. That errs by a factor that is much the same for every request, which is all
that comparing replicas needs; the replicas report their true work and correct the rest (pool.py).

An answer that flows reduces what is outstanding: its first piece means the prompt is done, and every
further piece is about one token for each choice.
"""

from __future__ import annotations

import re
from typing import NamedTuple

BYTES_PER_TOKEN = 4
DEFAULT_GENERATION_TOKENS = 128
"""Assumed of a request that names no limit."""

# A quote inside a JSON string is escaped, so `"max_tokens"` cannot match inside a prompt.
_LIMIT = re.compile(rb'"(?:max_tokens|max_completion_tokens)"\s*:\s*(\d{1,9})')
_CHOICES = re.compile(rb'"n"\s*:\s*(\d{1,4})')

# fastgen.v1.GenerateRequest: token_ids = 4, sampling = 5; Sampling: max_new_tokens = 1, n = 11.
# A test compares these numbers with the generated code.
GRPC_SERVICE = "/fastgen.v1.Generation/"
_TOKEN_IDS, _SAMPLING, _MAX_NEW_TOKENS, _N = 4, 5, 1, 11
_HIGH_BYTES = bytes(range(0x80, 0x100))
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class Work(NamedTuple):
    """An estimate, in tokens."""

    prompt_tokens: int
    generation_tokens: int

    @property
    def total(self) -> int:
        return self.prompt_tokens + self.generation_tokens


NO_WORK = Work(0, 0)


def http_work(method: str, body: bytes) -> Work:
    """The work of an HTTP request; only a POST with a body is any."""
    if method != "POST" or not body:
        return NO_WORK
    limit = _LIMIT.search(body)
    choices = _CHOICES.search(body)
    generation = int(limit[1]) if limit else DEFAULT_GENERATION_TOKENS
    return Work(len(body) // BYTES_PER_TOKEN + 1, generation * max(1, int(choices[1]) if choices else 1))


def unread_work(method: str, content_length: int | None) -> Work:
    """The work of an HTTP request that is refused before its body is read."""
    if method != "POST":
        return NO_WORK
    return Work((content_length or 0) // BYTES_PER_TOKEN + 1, DEFAULT_GENERATION_TOKENS)


def grpc_work(method: str, message: bytes) -> Work:
    """The work of a gRPC request by its first message; only generation is any."""
    if not method.startswith(GRPC_SERVICE):
        return NO_WORK
    prompt = len(message) // BYTES_PER_TOKEN + 1
    limit, choices = DEFAULT_GENERATION_TOKENS, 1
    fields = _fields(message)
    if isinstance(ids := fields.get(_TOKEN_IDS), bytes):
        packed = _fields(ids).get(1, b"")
        # Each id ends with the one byte whose high bit is clear: drop the others, count the rest, all in C.
        prompt = len(packed.translate(None, _HIGH_BYTES)) if isinstance(packed, bytes) else 1
    if isinstance(sampling := fields.get(_SAMPLING), bytes):
        asked = _fields(sampling)
        if isinstance(most := asked.get(_MAX_NEW_TOKENS), int):
            limit = most
        if isinstance(n := asked.get(_N), int):
            choices = max(1, n)
    return Work(prompt, limit * choices)


def _fields(message: bytes) -> dict[int, int | bytes]:
    """The last value of each field of a protobuf message; what is malformed ends the scan, never raises."""
    found: dict[int, int | bytes] = {}
    at = 0
    try:
        while at < len(message):
            key, at = _varint(message, at)
            field, wire_type = key >> 3, key & 7
            if wire_type == _VARINT:
                found[field], at = _varint(message, at)
            elif wire_type == _BYTES:
                size, at = _varint(message, at)
                found[field] = message[at : at + size]
                at += size
            elif wire_type in (_FIXED64, _FIXED32):
                at += 8 if wire_type == _FIXED64 else 4
            else:
                break
    except IndexError:
        pass  # cut short: an estimate from what came before is still better than none
    return found


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise IndexError
