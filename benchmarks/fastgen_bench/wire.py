"""The few fields of OpenAI's answers that a measurement needs; msgspec skips the rest undecoded."""

from __future__ import annotations

from typing import Any

import msgspec


class Receipt(msgspec.Struct):
    effective: bool | None = None


class Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    sla: Receipt | None = None


class Message(msgspec.Struct):
    role: str | None = None
    content: str | None = None
    reasoning_content: str | None = None


class Choice(msgspec.Struct):
    text: str | None = None
    delta: Message | None = None
    finish_reason: str | None = None

    @property
    def carries_tokens(self) -> bool:
        """False for what only opens (the role) or closes (the finish reason) a stream.

        A piece without text in the middle counts: half a multi-byte character is a token, too.
        """
        if self.text or (self.delta and (self.delta.content or self.delta.reasoning_content)):
            return True
        opens = self.delta is not None and self.delta.role is not None
        return not opens and self.finish_reason is None


class Answer(msgspec.Struct):
    """A whole answer, or one piece of a stream."""

    choices: list[Choice] = []
    usage: Usage | None = None
    error: Any = None


decode_answer = msgspec.json.Decoder(Answer).decode


def error_text(status: int, body: bytes) -> str:
    """What went wrong, in one line, from OpenAI's error shape or whatever came instead."""
    try:
        error = decode_answer(body).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        error = None
    if isinstance(error, dict) and "message" in error:
        detail = str(error["message"])
    else:
        detail = body[:200].decode("utf-8", "replace")
    return f"HTTP {status}: {detail}"[:300]


class EventSplitter:
    """Cuts a stream of bytes into the payloads of its server-sent events' `data:` lines."""

    def __init__(self) -> None:
        self._rest = b""

    def push(self, data: bytes) -> list[bytes]:
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        return [line[5:].strip() for line in lines if line.startswith(b"data:")]
