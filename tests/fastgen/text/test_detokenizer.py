"""What comes out token by token, joined, is the text of all the tokens."""

from __future__ import annotations

import functools
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_tokenizers import byte_level, metaspace, sentencepiece

from fastgen.text.detokenizer import Detokenizer
from fastgen.text.tokenizer import Tokenizer

KINDS = {
    name: functools.cache(make)
    for name, make in {"byte_level": byte_level, "sentencepiece": sentencepiece, "metaspace": metaspace}.items()
}
IDS = st.lists(st.integers(0, 440), max_size=40)


def pieces(tokenizer: Tokenizer, ids: list[int], prompt: list[int] | None = None) -> list[str]:
    stream = Detokenizer(tokenizer, prompt or [])
    return [*(stream.push(token_id) for token_id in ids), stream.flush()]


@pytest.mark.parametrize("kind", ["byte_level", "sentencepiece"])
def test_both_real_kinds_decode_by_piece(kind: str) -> None:
    assert KINDS[kind]().decodes_by_piece
    assert not KINDS["metaspace"]().decodes_by_piece


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.text(max_size=60))
@settings(max_examples=150, deadline=None)
def test_any_text_comes_out_as_decode_says(kind: str, text: str) -> None:
    tokenizer = KINDS[kind]()
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert "".join(pieces(tokenizer, ids)) == tokenizer.decode(ids)


@given(ids=IDS)
@settings(max_examples=400, deadline=None)
def test_any_ids_come_out_as_decode_says_byte_level(ids: list[int]) -> None:
    """Special, unknown and half-character ids included."""
    tokenizer = KINDS["byte_level"]()
    assert "".join(pieces(tokenizer, ids)) == tokenizer.decode(ids)


@given(ids=IDS)
@settings(max_examples=400, deadline=None)
def test_any_ids_come_out_sentencepiece(ids: list[int]) -> None:
    """As decode says wherever that is not a broken run of bytes; there, no whole character is lost."""
    tokenizer = KINDS["sentencepiece"]()
    text, whole = "".join(pieces(tokenizer, ids)), tokenizer.decode(ids)
    if "\ufffd" not in text:
        assert text == whole
    assert text == b"".join(map(tokenizer.piece, ids)).decode(errors="fastgen.replace_each_byte").removeprefix(" ")


@pytest.mark.parametrize("kind", KINDS)
@given(prompt=st.text(min_size=1, max_size=30), text=st.text(max_size=30))
@settings(max_examples=100, deadline=None)
def test_the_answer_continues_the_prompt(kind: str, prompt: str, text: str) -> None:
    """Leading spaces are the answer's own: prompt + answer is the text of all ids."""
    tokenizer = KINDS[kind]()
    prompt_ids, ids = (tokenizer.encode(part, add_special_tokens=False) for part in (prompt, text))
    assert tokenizer.decode(prompt_ids) + "".join(pieces(tokenizer, ids, prompt_ids)) == tokenizer.decode(
        prompt_ids + ids
    )


@pytest.mark.parametrize("kind", ["byte_level", "sentencepiece"])
def test_an_emoji_over_several_tokens_appears_once_and_whole(kind: str) -> None:
    tokenizer = KINDS[kind]()
    ids = tokenizer.encode("🦜", add_special_tokens=False)
    assert len(ids) >= 3
    given_out = [piece for piece in pieces(tokenizer, ids) if piece]
    assert "".join(given_out).strip() == "🦜"
    assert "\ufffd" not in "".join(given_out)


@pytest.mark.parametrize("kind", ["byte_level", "sentencepiece"])
def test_characters_are_not_held_back_longer_than_needed(kind: str) -> None:
    tokenizer = KINDS[kind]()
    stream = Detokenizer(tokenizer)
    for text in ("龘", "🦜", "é"):
        ids = [i for i in tokenizer.encode(text, add_special_tokens=False) if tokenizer.piece(i) != b" "]
        assert "".join(stream.push(token_id) for token_id in ids).strip() == text


@pytest.mark.parametrize("kind", ["byte_level", "sentencepiece"])
def test_a_cut_character_is_flushed_as_replacement(kind: str) -> None:
    tokenizer = KINDS[kind]()
    ids = tokenizer.encode("ok 🦜", add_special_tokens=False)[:-1]
    *before, last = pieces(tokenizer, ids)
    assert "".join(before).strip() == "ok"
    assert set(last) == {"\ufffd"}


def test_a_prompt_that_ends_inside_a_character_is_completed_by_the_answer() -> None:
    tokenizer = KINDS["byte_level"]()
    ids = tokenizer.encode("🦜!", add_special_tokens=False)
    assert "".join(pieces(tokenizer, ids[2:], ids[:2])) == "🦜!"


def test_special_tokens_are_silent() -> None:
    tokenizer = KINDS["byte_level"]()
    ids = tokenizer.encode("a</s>b", add_special_tokens=False)
    assert "".join(pieces(tokenizer, ids)) == "ab"


@pytest.mark.parametrize("kind", KINDS)
def test_time_per_token_does_not_grow(kind: str) -> None:
    """Also where no character ever completes, the case that windows without a bound grow in."""
    tokenizer = KINDS[kind]()
    lead = next(i for i in range(tokenizer.vocab_size) if tokenizer.piece(i) == b"\xf0") if kind != "metaspace" else 7
    stream = Detokenizer(tokenizer)

    def seconds(count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            stream.push(lead)
        return time.perf_counter() - start

    early = min(seconds(500) for _ in range(3))
    seconds(10_000)
    assert min(seconds(500) for _ in range(3)) < 10 * early
