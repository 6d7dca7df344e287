"""Events to deltas: ends, stop strings, stop tokens, log-probabilities."""

from __future__ import annotations

import pytest
from tiny_tokenizers import byte_level

from fastgen.core.events import SequenceTiming, TokenEvent
from fastgen.core.sampling_params import SamplingParams
from fastgen.text.stream import TextDelta, TextStream, TokenLogprob
from fastgen.text.tokenizer import Tokenizer

TIMING = SequenceTiming(0.1, 0.2, 0.3, 0, 0)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return byte_level()


def play(tokenizer: Tokenizer, text: str, params: SamplingParams, finish: str = "length") -> tuple[str, TextStream]:
    ids = tokenizer.encode(text, add_special_tokens=False)
    stream = TextStream(tokenizer, (), params)
    out = ""
    for place, token_id in enumerate(ids):
        last = place == len(ids) - 1
        out += stream.push(TokenEvent(7, token_id, finish=finish if last else None)).text  # type: ignore[arg-type]
    return out, stream


def test_plain_text_passes_and_the_end_is_the_engines(tokenizer: Tokenizer) -> None:
    out, stream = play(tokenizer, "Größe 😀", SamplingParams())
    assert (out, stream.finish_reason, stream.stopped_by_string) == ("Größe 😀", "length", False)


def test_a_stop_string_over_several_tokens_ends_the_text_before_it(tokenizer: Tokenizer) -> None:
    out, stream = play(tokenizer, "tokens, and fills each step", SamplingParams(stop=("zzz", "d fil")))
    assert (out, stream.finish_reason, stream.stopped_by_string) == ("tokens, an", "stop", True)
    assert stream.push(TokenEvent(7, None, finish="cancelled", timing=TIMING)) == TextDelta(0, "", ())


def test_a_stop_token_is_no_text_but_is_told(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("ab", add_special_tokens=False)
    stream = TextStream(tokenizer, (), SamplingParams(stop_token_ids=(ids[-1],)), index=2)
    stream.push(TokenEvent(7, ids[0]))
    delta = stream.push(TokenEvent(7, ids[-1], finish="stop", timing=TIMING))
    assert delta == TextDelta(2, "", (ids[-1],), (), "stop", TIMING)


def test_what_was_held_back_comes_with_the_end(tokenizer: Tokenizer) -> None:
    out, stream = play(tokenizer, "the EN", SamplingParams(stop=("END",)))
    assert (out, stream.finish_reason) == ("the EN", "length")


def test_an_incomplete_character_comes_with_the_end(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("🦜", add_special_tokens=False)[:2]
    stream = TextStream(tokenizer, (), SamplingParams())
    assert [stream.push(TokenEvent(7, i)).text for i in ids] == ["", ""]
    assert stream.push(TokenEvent(7, None, finish="cancelled")).text == "\ufffd"


def test_a_stop_string_waits_for_min_new_tokens(tokenizer: Tokenizer) -> None:
    out, _ = play(tokenizer, "a.b.c.d", SamplingParams(stop=(".",), min_new_tokens=3))
    assert out == "a.b"


def test_logprobs_only_where_asked(tokenizer: Tokenizer) -> None:
    event = TokenEvent(7, 65, logprob=-0.5, top_logprobs=((65, -0.5), (66, -1.0)))
    asked = TextStream(tokenizer, (), SamplingParams(logprobs=2)).push(event)
    assert asked.logprobs == (TokenLogprob(65, -0.5, ((65, -0.5), (66, -1.0))),)
    assert TextStream(tokenizer, (), SamplingParams()).push(event).logprobs == ()
