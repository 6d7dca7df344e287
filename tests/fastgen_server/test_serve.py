"""`fastgen serve` with a real model, asked by the official `openai` client, by gRPC and by hand."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import openai
import pytest
from serve_process import ServeProcess, serve_process
from waiting import eventually

from fastgen.text.tokenizer import Tokenizer
from fastgen.v1 import generation_pb2 as pb
from fastgen.v1.generation_pb2_grpc import GenerationStub

pytestmark = pytest.mark.slow

TEXT = "Dynamic SplitFuse cuts long prompts"
GREEDY: dict[str, Any] = {"model": "tiny", "temperature": 0}


@pytest.fixture(scope="module")
def server(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeProcess]:
    flags = ["--model-name", "tiny", "--dtype", "float32", "--token-budget", "64", "--kv-bytes", str(4 * 2**20)]
    flags += ["--max-sequences", "4", "--max-queued-requests", "8"]
    with serve_process(tiny_llama, tmp_path_factory.mktemp("serve"), *flags) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: ServeProcess) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.http}/v1", api_key="none", max_retries=0, timeout=60)


@pytest.fixture(scope="module")
def tokenizer(tiny_llama: Path) -> Tokenizer:
    return Tokenizer.load(str(tiny_llama))


@pytest.fixture(scope="module")
def expected(tiny_llama: Path, tokenizer: Tokenizer) -> list[int]:
    """24 greedy tokens, as transformers has them."""
    from oracle import greedy_tokens

    return greedy_tokens(tiny_llama, [tokenizer.encode(TEXT)], 24)[0]


def test_it_lists_its_model(client: openai.OpenAI) -> None:
    (model,) = client.models.list().data
    assert model.id == "tiny"
    assert client.models.retrieve("tiny").id == "tiny"


def test_every_way_in_gives_the_tokens_of_transformers(
    server: ServeProcess, client: openai.OpenAI, tokenizer: Tokenizer, expected: list[int]
) -> None:
    """Whole and streamed, HTTP and gRPC, text and token ids: the same tokens, and their text."""
    text = tokenizer.decode(expected)
    ask: dict[str, Any] = {**GREEDY, "max_tokens": 24, "extra_body": {"ignore_eos": True, "return_token_ids": True}}
    whole = client.completions.create(prompt=TEXT, **ask)
    assert whole.choices[0].to_dict()["token_ids"] == expected
    assert whole.choices[0].text == text
    assert whole.usage is not None
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (len(tokenizer.encode(TEXT)), 24)
    assert set(whole.usage.to_dict()["sla"]) >= {"effective", "first_token_seconds", "worst_gap_ema_seconds", "reason"}

    streamed = list(client.completions.create(prompt=tokenizer.encode(TEXT), stream=True, **ask))
    assert [token for chunk in streamed for token in chunk.choices[0].to_dict()["token_ids"]] == expected
    assert "".join(chunk.choices[0].text for chunk in streamed) == text
    assert [chunk.choices[0].finish_reason for chunk in streamed] == [None] * 23 + ["length"]

    with grpc.insecure_channel(server.grpc) as channel:
        stub: Any = GenerationStub(channel)  # type: ignore[arg-type]  # the stub's types are those of grpc.aio
        sampling = pb.Sampling(temperature=0, max_new_tokens=24, ignore_eos=True)
        reply = stub.Generate(pb.GenerateRequest(text=TEXT, sampling=sampling))
        assert list(reply.choices[0].token_ids) == expected
        assert reply.choices[0].text == text
        ids = pb.TokenIds(ids=tokenizer.encode(TEXT))
        chunks = list(stub.GenerateStream(pb.GenerateRequest(token_ids=ids, sampling=sampling)))
        assert [token for chunk in chunks for choice in chunk.choices for token in choice.token_ids] == expected
        assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == text


def test_a_chat_is_the_models_template_and_nothing_else(client: openai.OpenAI, tokenizer: Tokenizer) -> None:
    messages: list[Any] = [{"role": "user", "content": "What is a block?"}]
    chat = client.chat.completions.create(messages=messages, max_completion_tokens=12, **GREEDY)
    ids = tokenizer.apply_chat_template(messages)
    plain = client.completions.create(prompt=ids, max_tokens=12, **GREEDY)
    assert chat.choices[0].message.content == plain.choices[0].text
    assert chat.choices[0].message.role == "assistant"
    stream = client.chat.completions.create(
        messages=messages, max_tokens=12, stream=True, stream_options={"include_usage": True}, **GREEDY
    )
    *chunks, last = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == plain.choices[0].text
    assert chunks[0].choices[0].delta.role == "assistant"
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.prompt_tokens == len(ids)


def test_a_seed_gives_the_same_answers_again_and_n_gives_several(client: openai.OpenAI) -> None:
    ask: dict[str, Any] = {"model": "tiny", "prompt": TEXT, "max_tokens": 12, "n": 3, "seed": 7, "temperature": 1.5}
    first, again = client.completions.create(**ask), client.completions.create(**ask)
    texts = [choice.text for choice in first.choices]
    assert texts == [choice.text for choice in again.choices]
    assert len(set(texts)) == 3
    assert [choice.index for choice in first.choices] == [0, 1, 2]


def test_a_stop_string_ends_the_text_before_it(
    server: ServeProcess, client: openai.OpenAI, tokenizer: Tokenizer, expected: list[int]
) -> None:
    text = tokenizer.decode(expected)
    stop = text[8:14]  # across tokens
    ask: dict[str, Any] = {**GREEDY, "max_tokens": 24, "stop": stop, "extra_body": {"ignore_eos": True}}
    whole = client.completions.create(prompt=TEXT, **ask)
    assert whole.choices[0].text == text[: text.index(stop)]
    assert whole.choices[0].finish_reason == "stop"
    streamed = list(client.completions.create(prompt=TEXT, stream=True, **ask))
    assert "".join(chunk.choices[0].text for chunk in streamed) == text[: text.index(stop)]
    assert streamed[-1].choices[0].finish_reason == "stop"
    eventually(lambda: server.metric("fastgen_num_requests_running") == 0)


def test_logprobs_in_both_shapes(client: openai.OpenAI, tokenizer: Tokenizer, expected: list[int]) -> None:
    whole = client.completions.create(prompt=TEXT, max_tokens=4, logprobs=3, **GREEDY)
    logprobs = whole.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.tokens is not None
    assert logprobs.token_logprobs is not None
    assert logprobs.top_logprobs is not None
    spelled = [tokenizer.token_bytes(token).decode("utf-8", "replace") for token in expected[:4]]
    assert logprobs.tokens == spelled
    for token, logprob, top in zip(logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs, strict=True):
        assert top[token] == logprob == max(top.values())  # greedy took the likeliest
        assert logprob < 0
    chat = client.chat.completions.create(
        messages=[{"role": "user", "content": "hi"}], max_tokens=3, logprobs=True, top_logprobs=2, **GREEDY
    )
    content = chat.choices[0].logprobs and chat.choices[0].logprobs.content
    assert content is not None
    assert [len(item.top_logprobs) for item in content] == [2, 2, 2]
    assert all(item.bytes == item.top_logprobs[0].bytes for item in content)


def test_mistakes_are_openais_errors(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as bad:
        client.completions.create(prompt=TEXT, model="tiny", temperature=-1)
    assert bad.value.param == "temperature"
    assert "at least 0" in bad.value.message
    with pytest.raises(openai.NotFoundError, match="serves 'tiny'"):
        client.completions.create(prompt=TEXT, model="gpt-4o")
    with pytest.raises(openai.BadRequestError, match="holds 2048") as too_long:
        client.chat.completions.create(messages=[{"role": "user", "content": "hi"}], model="tiny", max_tokens=4000)
    assert too_long.value.code == "context_length_exceeded"
    assert too_long.value.param == "max_tokens"
    with pytest.raises(openai.BadRequestError, match="token id 512; this model's are 0 to 511"):
        client.completions.create(prompt=[512], model="tiny")
    with pytest.raises(openai.BadRequestError, match="did you mean 'top_k'"):
        client.completions.create(prompt=TEXT, model="tiny", extra_body={"topk": 3})


async def test_a_full_queue_is_503_with_retry_after_and_the_others_finish(server: ServeProcess) -> None:
    """8 may wait before the first step takes 4 of them; of 30 at once some are refused, and every one that is
    not gets its whole answer."""
    before = server.metric("fastgen_requests_total")
    ask = {"prompt": TEXT, "max_tokens": 60, "temperature": 0, "ignore_eos": True}
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=server.http, timeout=120, limits=limits) as http:
        responses = await asyncio.gather(*(http.post("/v1/completions", json=ask) for _ in range(30)))
    refused = [response for response in responses if response.status_code == 503]
    served = [response for response in responses if response.status_code == 200]
    assert len(refused) + len(served) == 30
    assert refused
    assert len(served) >= 8
    assert all(int(response.headers["retry-after"]) >= 1 for response in refused)
    assert all("8 requests are waiting" in response.json()["error"]["message"] for response in refused)
    assert {response.json()["usage"]["completion_tokens"] for response in served} == {60}
    assert server.metric("fastgen_requests_total") - before == 30


def test_a_client_that_leaves_frees_its_blocks(server: ServeProcess) -> None:
    ask = {"prompt": TEXT, "max_tokens": 2000, "n": 4, "ignore_eos": True, "stream": True}
    before = server.metric("fastgen_generation_tokens_total")
    with httpx.stream("POST", f"{server.http}/v1/completions", json=ask, timeout=60) as response:
        next(response.iter_lines())
    eventually(lambda: server.metric("fastgen_num_requests_running") == 0, timeout_seconds=5)
    assert 0 < server.metric("fastgen_generation_tokens_total") - before < 4 * 2000
    assert server.metric("fastgen_kv_cache_usage_perc") == 0
    assert server.metric("fastgen_waiting_tokens") == 0
    assert "/v1/completions cancelled: " in server.log.read_text()


def test_metrics_add_up(server: ServeProcess, client: openai.OpenAI) -> None:
    before = server.samples()
    for _ in range(2):
        client.completions.create(prompt=[7] * 40, max_tokens=5, extra_body={"ignore_eos": True}, **GREEDY)
    after = server.samples()

    def grown(name: str, **labels: str) -> float:
        pairs = ",".join(f'{key}="{value}"' for key, value in sorted({"model_name": "tiny", **labels}.items()))
        return after[f"{name}{{{pairs}}}"] - before.get(f"{name}{{{pairs}}}", 0)

    assert grown("fastgen_requests_total") == 2
    assert grown("fastgen_request_success_total", finished_reason="length") == 2
    assert grown("fastgen_prompt_tokens_total") == 80
    assert grown("fastgen_generation_tokens_total") == 10
    assert grown("fastgen_served_tokens_total") == 90
    assert grown("fastgen_offered_tokens_total") == 90
    assert grown("fastgen_time_to_first_token_seconds_count") == 2
    assert grown("fastgen_inter_token_latency_seconds_count") == 8
    assert grown("fastgen_e2e_request_latency_seconds_count") == 2
    assert grown("fastgen_request_queue_time_seconds_count") == 2
    # 40 prompt tokens are two full blocks and a part; the second request finds the full ones.
    assert grown("fastgen_prefix_cache_queries_total") == 80
    assert grown("fastgen_prefix_cache_hits_total") == 32
    assert grown("fastgen_prompt_tokens_cached_total") == 32
    # Steps computed the prompts, less what was cached, and all generated tokens but the last of each answer.
    assert grown("fastgen_iteration_tokens_total_sum") == 80 - 32 + 2 * 4
    assert grown("fastgen_step_fill_ratio_count") == grown("fastgen_iteration_tokens_total_count")
    assert server.metric("fastgen_token_budget") == 64
    assert grown("fastgen_num_preemptions_total") == 0


def test_the_log_holds_no_contents(server: ServeProcess, client: openai.OpenAI) -> None:
    client.completions.create(prompt="my secret is swordfish", max_tokens=2, **GREEDY)
    text = server.log.read_text()
    assert "swordfish" not in text
    assert "/v1/completions finished: " in text
    assert "steps of 64 tokens (set by hand)" in text


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["/no/such/model"], "/no/such/model"),
        (["MODEL", "--token-budgett", "3"], "did you mean '--token-budget'?"),
        (["MODEL", "--grace-seconds", "-1"], "grace_seconds=-1.0 is too small"),
        (["MODEL", "--port", "PORT"], "choose another --port"),
        (["MODEL", "--grpc-port", "PORT", "--port", "0"], "choose another --grpc-port"),
    ],
)
def test_a_server_that_cannot_start_says_why_and_ends(
    server: ServeProcess, tiny_llama: Path, flags: list[str], message: str
) -> None:
    taken = (server.grpc if "--grpc-port" in flags else server.http).rsplit(":", 1)[1]
    words = [{"MODEL": str(tiny_llama), "PORT": taken}.get(flag, flag) for flag in flags]
    done = subprocess.run(
        [sys.executable, "-m", "fastgen_server", "serve", *words],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2, "2 tells a supervisor that the same words will fail again"
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_sigterm_lets_a_stream_finish_and_leaves_nothing_behind(server: ServeProcess) -> None:
    """Last, for it ends the server of the others: starting one of its own costs more than all of them."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    assert children, "the engine is a process of its own"
    ask = {"prompt": TEXT, "max_tokens": 1500, "ignore_eos": True, "stream": True}
    with httpx.stream("POST", f"{server.http}/v1/completions", json=ask, timeout=60) as response:
        pieces = response.iter_bytes()
        received = next(pieces)
        server.process.send_signal(signal.SIGTERM)
        received += b"".join(pieces)
    assert received.endswith(b"data: [DONE]\n\n")
    assert received.count(b"\n\n") == 1501
    assert server.process.wait(timeout=20) == 0
    assert not server.address_file.exists()
    assert not any(Path(f"/proc/{child}").exists() for child in children)
