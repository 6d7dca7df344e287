"""The bytes a token stands for, where the tokenizer's decoder allows it to be said token by token.

    byte-level BPE     "Ġhello"            -> b" hello"         (GPT-2, OPT, Llama 3, Qwen)
    sentencepiece BPE  "▁hello", "<0xE2>"  -> b" hello", b"\\xe2"  (Llama 1/2, Mistral, Gemma)

Text is then UTF-8 decoding and nothing else: no window of tokens to decode again at each step. The two
decoders and their order of operations are those of https://github.com/huggingface/tokenizers
(tokenizers/src/decoders and pre_tokenizers/byte_level.rs).
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tokenizers

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


@dataclass(frozen=True, slots=True)
class PieceRules:
    """How one tokenizer turns token strings into bytes."""

    to_bytes: Callable[[str], bytes]
    strips_first_space: bool
    """The text as a whole loses one leading space: sentencepiece puts one before every first word."""


def piece_rules(backend: tokenizers.Tokenizer) -> PieceRules | None:
    """The rules of this tokenizer's decoder, or none where a token alone does not tell its bytes."""
    decoder = json.loads(backend.to_str())["decoder"]
    if decoder is None:
        return None
    steps: list[dict[str, Any]] = decoder["decoders"] if decoder["type"] == "Sequence" else [decoder]
    kinds = [step["type"] for step in steps]
    if kinds == ["ByteLevel"]:
        return PieceRules(byte_level_bytes, strips_first_space=False)
    replaces = [step for step in steps if step["type"] == "Replace"]
    rest = steps[len(replaces) :]
    if steps[: len(replaces)] != replaces or any("String" not in step["pattern"] for step in replaces):
        return None
    strips = _strips(rest)
    if strips is None:
        return None
    pairs = tuple((step["pattern"]["String"], step["content"]) for step in replaces)
    return PieceRules(functools.partial(byte_fallback_bytes, pairs), strips)


def _strips(rest: list[dict[str, Any]]) -> bool | None:
    """Whether ByteFallback, Fuse[, Strip] strips one leading space; none if `rest` is anything else."""
    kinds = [step["type"] for step in rest]
    if kinds == ["ByteFallback", "Fuse"]:
        return False
    if kinds != ["ByteFallback", "Fuse", "Strip"]:
        return None
    strip = rest[2]
    return True if (strip["content"], strip["start"], strip["stop"]) == (" ", 1, 0) else None


def byte_level_bytes(token: str) -> bytes:
    """Each character of a byte-level token is one byte; a token with any other character is plain text."""
    alphabet = _byte_alphabet()
    try:
        return bytes(alphabet[char] for char in token)
    except KeyError:
        return token.encode()


def byte_fallback_bytes(replacements: tuple[tuple[str, str], ...], token: str) -> bytes:
    """A sentencepiece token: plain text with its replacements made, or one byte spelled <0xE2>."""
    for old, new in replacements:
        token = token.replace(old, new)
    match = _BYTE_TOKEN.fullmatch(token)
    return bytes((int(match[1], 16),)) if match else token.encode()


@functools.cache
def _byte_alphabet() -> dict[str, int]:
    """GPT-2's alphabet: printable bytes are themselves, the others are shifted up from U+0100 in order."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    shifted = {chr(0x100 + place): byte for place, byte in enumerate(others)}
    return {chr(byte): byte for byte in printable} | shifted
