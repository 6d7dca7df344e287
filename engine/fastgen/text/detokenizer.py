"""Token ids to text, one at a time: each character is given out as soon as its last byte is there.

The promise: what `push` and `flush` gave out, joined, is the text of all the ids after the prompt. For
byte-level tokenizers that is `Tokenizer.decode` of the ids to the last replacement character. For
sentencepiece tokenizers it is `Tokenizer.decode` wherever the byte tokens make valid UTF-8; where a run
of them is broken, the whole characters in it are kept (they were already given out) and each stray byte
becomes U+FFFD.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Protocol

from fastgen.text.tokenizer import Tokenizer

REPLACEMENT = "\ufffd"
_MAX_UTF8_BYTES = 4
_WINDOW_TOKENS = 6
"""Tokens decoded again with each new one where a token's bytes are not known by themselves: enough for
whatever a decoder does between neighbours, and for a character spread over four of them."""


def _replace_each_byte(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return REPLACEMENT * (error.end - error.start), error.end


codecs.register_error("fastgen.replace_each_byte", _replace_each_byte)


class _Stream(Protocol):
    def push(self, token_id: int) -> str: ...

    def flush(self) -> str: ...


class Detokenizer:
    """The text of one sequence. `prompt_ids` only sets the scene: whether a leading space belongs to the
    answer, and whether the prompt ends in the middle of a character that the answer completes."""

    def __init__(self, tokenizer: Tokenizer, prompt_ids: Sequence[int] = ()) -> None:
        stream = _PieceStream if tokenizer.decodes_by_piece else _WindowStream
        self._stream: _Stream = stream(tokenizer, prompt_ids)

    def push(self, token_id: int) -> str:
        """The text that is certain now; "" while a character is incomplete."""
        return self._stream.push(token_id)

    def flush(self) -> str:
        """What was still held back, at the end of the sequence: an incomplete character is U+FFFD."""
        return self._stream.flush()


class _PieceStream:
    """Tokens are bytes, and text is their UTF-8."""

    def __init__(self, tokenizer: Tokenizer, prompt_ids: Sequence[int]) -> None:
        self._piece = tokenizer.piece
        self._errors = "fastgen.replace_each_byte" if tokenizer.strips_first_space else "replace"
        self._pending = b""
        tail = _last_pieces(tokenizer, prompt_ids)
        self._at_start = tokenizer.strips_first_space and not tail
        if tail:
            # Text of the prompt is not ours to give out; an unfinished character at its end is.
            _, used = codecs.utf_8_decode(tail, "replace", False)
            self._pending = tail[used:]

    def push(self, token_id: int) -> str:
        return self._decode(self._piece(token_id), final=False)

    def flush(self) -> str:
        return self._decode(b"", final=True)

    def _decode(self, new: bytes, *, final: bool) -> str:
        data = self._pending + new
        text, used = codecs.utf_8_decode(data, self._errors, final)
        self._pending = data[used:]
        if self._at_start and text:
            self._at_start = False
            return text.removeprefix(" ")
        return text


def _last_pieces(tokenizer: Tokenizer, token_ids: Sequence[int]) -> bytes:
    """The last bytes of a text: enough to hold an unfinished character, empty only if there is no text."""
    tail = b""
    for token_id in reversed(token_ids):
        tail = tokenizer.piece(token_id) + tail
        if len(tail) >= _MAX_UTF8_BYTES:
            break
    return tail


class _WindowStream:
    """For any other decoder: decode a few tokens with and without the new one; the difference is new.

    The method of Hugging Face text-generation-inference, with a bound on how long it waits.
    """

    def __init__(self, tokenizer: Tokenizer, prompt_ids: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        # Special tokens are silent, so they may not use up the window either.
        self._ids = [token_id for token_id in prompt_ids if not tokenizer.is_special(token_id)][-_WINDOW_TOKENS:]
        self._num_read = len(self._ids)
        self._read_text = tokenizer.decode(self._ids) if self._ids else ""

    def push(self, token_id: int) -> str:
        if self._tokenizer.is_special(token_id):
            return ""
        self._ids.append(token_id)
        text = self._tokenizer.decode(self._ids)
        if text.endswith(REPLACEMENT) and len(self._ids) - self._num_read < _MAX_UTF8_BYTES:
            return ""
        return self._take(text)

    def flush(self) -> str:
        return self._take(self._tokenizer.decode(self._ids)) if len(self._ids) > self._num_read else ""

    def _take(self, text: str) -> str:
        new = text[len(self._read_text) :]
        self._ids = self._ids[-_WINDOW_TOKENS:]
        self._num_read = len(self._ids)
        self._read_text = self._tokenizer.decode(self._ids)
        return new
