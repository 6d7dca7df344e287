"""Deltas reach the one who waits: in order, at once, and with the right end."""

from __future__ import annotations

import asyncio

import pytest
from tiny_tokenizers import byte_level

from fastgen.core.events import SequenceFailed, SequenceTiming, TokenEvent
from fastgen.core.sampling_params import SamplingParams
from fastgen.errors import EngineDeadError, OverloadedError, TooLongError
from fastgen.process.choices import Choice, Mailbox
from fastgen.text.stream import TextDelta, TextStream
from fastgen.text.tokenizer import Tokenizer

TIMING = SequenceTiming(0.1, 0.2, 0.3, 0, 0)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return byte_level()


def choice(tokenizer: Tokenizer, mailbox: Mailbox, **params: object) -> Choice:
    return Choice(TextStream(tokenizer, (), SamplingParams(**params)), mailbox)  # type: ignore[arg-type]


async def test_what_came_while_nobody_looked_is_taken_in_one_go() -> None:
    mailbox = Mailbox()
    taking = asyncio.create_task(mailbox.take())
    await asyncio.sleep(0)
    first, second = TextDelta(0, "a", (1,)), TextDelta(1, "b", (2,))
    mailbox.put(first)
    mailbox.put(second)
    assert await taking == [first, second]


async def test_an_error_comes_after_what_was_there_before_it() -> None:
    mailbox = Mailbox()
    delta = TextDelta(0, "a", (1,))
    mailbox.put(delta)
    mailbox.fail(EngineDeadError("gone"))
    mailbox.fail(OverloadedError("a later error does not hide the first"))
    mailbox.put(TextDelta(1, "another choice, too late", (2,)))
    assert await mailbox.take() == [delta]
    with pytest.raises(EngineDeadError):
        await mailbox.take()


async def test_a_stop_string_gives_text_at_once_and_the_end_with_the_engines_last_word(tokenizer: Tokenizer) -> None:
    mailbox = Mailbox()
    one = choice(tokenizer, mailbox, stop=("b",))
    a, b = (tokenizer.encode(char, add_special_tokens=False)[0] for char in "ab")
    assert not one.accept(TokenEvent(1, a))
    assert one.accept(TokenEvent(1, b)), "the sequence is to be cancelled"
    assert await mailbox.take() == [TextDelta(0, "a", (a,)), TextDelta(0, "", (b,))]
    assert not one.accept(TokenEvent(1, a)), "a token that was under way already"
    assert not one.accept(TokenEvent(1, None, finish="cancelled", timing=TIMING))
    assert await mailbox.take() == [TextDelta(0, "", (), (), "stop", TIMING)]


async def test_a_stop_string_in_the_last_token_needs_no_cancelling(tokenizer: Tokenizer) -> None:
    mailbox = Mailbox()
    (b,) = tokenizer.encode("b", add_special_tokens=False)
    assert not choice(tokenizer, mailbox, stop=("b",)).accept(TokenEvent(1, b, finish="length", timing=TIMING))
    assert await mailbox.take() == [TextDelta(0, "", (b,), (), "stop", TIMING)]


async def test_an_answer_that_was_complete_survives_the_engines_death(tokenizer: Tokenizer) -> None:
    mailbox = Mailbox()
    one = choice(tokenizer, mailbox, stop=("b",))
    one.accept(TokenEvent(1, tokenizer.encode("b", add_special_tokens=False)[0]))
    one.fail_with(EngineDeadError("gone"))
    assert (await mailbox.take())[-1].finish_reason == "stop"


async def test_the_engines_error_is_raised_as_what_it_was(tokenizer: Tokenizer) -> None:
    mailbox = Mailbox()
    choice(tokenizer, mailbox).fail(SequenceFailed(1, "context_length_exceeded", "by 7", "prompt"))
    with pytest.raises(TooLongError, match="by 7") as caught:
        await mailbox.take()
    assert caught.value.param == "prompt"
