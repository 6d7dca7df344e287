"""pipeline(): the engine in the caller's own process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import fastgen
from fastgen.errors import InvalidRequestError, TooLongError, UnknownOptionError, UsageError

CHAT = [{"role": "user", "content": "What is a block?"}]
GREEDY = {"temperature": 0.0, "ignore_eos": True, "max_new_tokens": 12}


@pytest.fixture(scope="module")
def pipe(tiny_llama: Path) -> Iterator[fastgen.Pipeline]:
    with fastgen.pipeline(
        tiny_llama, dtype="float32", token_budget=32, kv_bytes=1 << 20, max_model_tokens=256
    ) as pipeline:
        yield pipeline


def held_blocks(pipe: fastgen.Pipeline) -> int:
    engine = pipe._engine
    assert engine is not None
    return engine.stats().kv_used_blocks


def test_one_prompt_of_each_kind(pipe: fastgen.Pipeline) -> None:
    ids = pipe.tokenizer.encode("The quick brown fox")
    (from_text,) = pipe("The quick brown fox", **GREEDY)
    (from_ids,) = pipe(ids, **GREEDY)
    (from_chat,) = pipe(CHAT, **GREEDY)
    assert from_text.token_ids == from_ids.token_ids
    assert from_text.prompt_tokens == len(ids)
    assert from_text.generated_tokens == len(from_text.token_ids) == 12
    assert from_text.finish_reason == "length"
    assert from_chat.prompt_tokens == len(pipe.tokenizer.apply_chat_template(CHAT))
    assert from_text.timing.total_seconds >= from_text.timing.first_token_seconds > 0


def test_responses_come_in_the_order_of_prompts_and_choices(pipe: fastgen.Pipeline) -> None:
    prompts = [f"Prompt number {index} " * (1 + index % 4) for index in range(12)]
    alone = [pipe(prompt, **GREEDY)[0].token_ids for prompt in prompts]
    assert [response.token_ids for response in pipe(prompts, **GREEDY)] == alone
    several = pipe(prompts[:2], n=3, temperature=1.0, seed=5, max_new_tokens=6)
    assert [response.index for response in several] == [0, 1, 2, 0, 1, 2]
    assert len({response.token_ids for response in several[:3]}) == 3


def test_a_seed_gives_the_same_tokens_whatever_the_company(pipe: fastgen.Pipeline, tiny_llama: Path) -> None:
    sampled = {"temperature": 1.2, "top_p": 0.95, "seed": 42, "max_new_tokens": 24, "ignore_eos": True}
    (alone,) = pipe("A seed", **sampled)
    crowd = pipe(["A seed", *(f"noise {index}" * 9 for index in range(10))], **sampled)
    assert crowd[0].token_ids == alone.token_ids
    block_bytes = pipe.info.kv_bytes // pipe.info.num_blocks
    with fastgen.pipeline(
        tiny_llama, dtype="float32", token_budget=64, kv_bytes=6 * block_bytes, max_model_tokens=90
    ) as tight:
        crowd = tight([*([index] * 20 for index in (7, 8)), "A seed"], **sampled)
    assert crowd[-1].token_ids == alone.token_ids
    assert crowd[-1].timing.num_preemptions > 0


def test_streams_join_to_the_whole_answer_and_may_be_interleaved(pipe: fastgen.Pipeline) -> None:
    whole = [pipe(prompt, **GREEDY)[0].text for prompt in ("first", "second")]
    streams = [pipe.stream(prompt, **GREEDY) for prompt in ("first", "second")]
    pieces: list[list[str]] = [[], []]
    for left, right in zip(*streams, strict=True):
        pieces[0].append(left.text)
        pieces[1].append(right.text)
    assert ["".join(texts) for texts in pieces] == whole


def test_a_stream_that_is_dropped_frees_its_blocks(pipe: fastgen.Pipeline) -> None:
    stream = pipe.stream("dropped", **{**GREEDY, "max_new_tokens": 100})
    next(stream)
    assert held_blocks(pipe) > 0
    stream.close()  # type: ignore[attr-defined]
    assert held_blocks(pipe) == 0


def test_stop_strings_end_the_answer_and_are_not_part_of_it(pipe: fastgen.Pipeline) -> None:
    (free,) = pipe("Where does it stop?", **GREEDY)
    stop = free.text[len(free.text) // 2 :][:3]
    (stopped,) = pipe("Where does it stop?", stop=stop, **GREEDY)
    assert stopped.text == free.text[: free.text.index(stop)]
    assert stopped.finish_reason == "stop"
    assert held_blocks(pipe) == 0


def test_threads_share_one_engine(pipe: fastgen.Pipeline) -> None:
    prompts = [f"thread {index}" for index in range(4)]
    expected = [pipe(prompt, **GREEDY)[0].token_ids for prompt in prompts]
    found: dict[int, tuple[int, ...]] = {}

    def ask(index: int) -> None:
        found[index] = pipe(prompts[index], **GREEDY)[0].token_ids

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert [found[index] for index in range(4)] == expected


def test_logprobs_are_one_a_token_and_likeliest_first(pipe: fastgen.Pipeline) -> None:
    (response,) = pipe("logprobs", logprobs=3, **GREEDY)
    assert [one.token_id for one in response.logprobs] == list(response.token_ids)
    for one in response.logprobs:
        assert one.top[0] == (one.token_id, pytest.approx(one.logprob)), "greedy takes the likeliest"
        assert len(one.top) == 3


def test_mistakes_are_told_before_any_work(pipe: fastgen.Pipeline, tiny_llama: Path) -> None:
    with pytest.raises(UnknownOptionError, match="did you mean 'max_new_tokens'"):
        pipe("x", max_new_token=3)
    with pytest.raises(InvalidRequestError, match="temperature"):
        pipe("x", temperature=-1.0)
    with pytest.raises(TooLongError, match="300"):
        pipe(["fine", [5] * 300], max_new_tokens=1)
    with pytest.raises(InvalidRequestError, match="outside the vocabulary"):
        pipe([5, 10**6], max_new_tokens=1)
    with pytest.raises(UnknownOptionError, match="did you mean 'block_tokens'"):
        fastgen.pipeline(tiny_llama, blok_tokens=8)
    assert held_blocks(pipe) == 0
    assert pipe._engine is not None
    assert not pipe._engine.scheduler.has_work


def test_a_closed_pipeline_says_so(tiny_llama: Path) -> None:
    pipeline = fastgen.pipeline(tiny_llama, dtype="float32", token_budget=32, kv_bytes=1 << 20)
    pipeline.close()
    pipeline.close()
    with pytest.raises(UsageError, match="closed"):
        pipeline("x")


def test_more_prompts_than_a_server_would_queue(pipe: fastgen.Pipeline) -> None:
    responses = pipe([[7, 8]] * 1100, max_new_tokens=1, temperature=0.0)
    assert len({response.token_ids for response in responses}) == 1
    assert len(responses) == 1100
