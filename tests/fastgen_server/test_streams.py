"""How answers end: complete, failed, left by the client; over HTTP and gRPC alike. Real sockets, scripted engine."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from dataclasses import replace
from typing import Any, cast

import grpc
import httpx
import pytest
from scripted_backend import INFO, CharacterTokenizer, Running, metric, running_server
from waiting import eventually_async

from fastgen.v1 import generation_pb2 as pb
from fastgen.v1.generation_pb2_grpc import GenerationStub
from fastgen_server.settings import ServerConfig


def events(text: str) -> list[tuple[str, Any]]:
    """(event name, data) of a whole stream of server-sent events."""
    found = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        data = fields["data"]
        found.append((fields.get("event", ""), data if data == "[DONE]" else json.loads(data)))
    return found


async def post_by_hand(server: Running, body: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection with a completion request sent and nothing read."""
    host, port = server.http.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
    raw = json.dumps(body).encode()
    writer.write(f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(raw)}\r\n\r\n".encode() + raw)
    return reader, writer


async def test_a_stream_says_who_speaks_then_tokens_then_usage_then_done(http: httpx.AsyncClient) -> None:
    body = {
        "messages": [{"role": "user", "content": "tokens=3"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    response = await http.post("/v1/chat/completions", json=body)
    assert response.headers["content-type"].startswith("text/event-stream")
    chunks = [data for _, data in events(response.text)]
    assert chunks[-1] == "[DONE]"
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks[:-2]]
    assert deltas == [{"role": "assistant", "content": ""}, {"content": "a"}, {"content": "b"}, {"content": "c"}]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[:-2]] == [None, None, None, "length"]
    assert chunks[-2]["choices"] == []
    assert chunks[-2]["usage"]["completion_tokens"] == 3
    assert chunks[-2]["usage"]["sla"]["effective"] is True
    assert all(chunk["usage"] is None for chunk in chunks[:-2])


async def test_a_failure_in_the_middle_is_an_error_event_and_the_end(http: httpx.AsyncClient) -> None:
    body = {"prompt": "tokens=9 fail=engine_dead at=2", "stream": True}
    response = await http.post("/v1/completions", json=body)
    assert response.status_code == 200
    found = events(response.text)
    assert [name for name, _ in found] == ["", "", "error"]
    assert found[-1][1]["error"] == {
        "message": "as the script says",
        "type": "service_unavailable_error",
        "param": None,
        "code": "engine_dead",
    }
    assert await metric(http, "fastgen_requests_total") == 1
    assert await metric(http, "fastgen_effective_requests_total", generation_rate="4") == 0
    assert await metric(http, "fastgen_request_errors_total", code="engine_dead") == 1


async def test_after_a_failure_in_the_middle_the_connection_closes(server: Running) -> None:
    reader, writer = await post_by_hand(server, {"prompt": "tokens=9 fail=engine_dead at=2", "stream": True})
    received = await asyncio.wait_for(reader.read(), timeout=5)  # until the server closes
    assert b"event: error" in received
    assert b"[DONE]" not in received
    writer.close()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_failure_before_the_first_token_has_its_status(http: httpx.AsyncClient, stream: bool) -> None:
    body = {"prompt": "fail=overloaded", "stream": stream}
    response = await http.post("/v1/completions", json=body)
    assert response.status_code == 503
    assert response.headers["retry-after"] == "7"
    assert response.json()["error"]["code"] == "overloaded"
    assert await metric(http, "fastgen_requests_total") == 1
    assert await metric(http, "fastgen_effective_requests_total", generation_rate="2") == 0


async def test_a_bug_is_a_500_that_tells_no_secrets(http: httpx.AsyncClient) -> None:
    response = await http.post("/v1/completions", json={"prompt": "fail=my-secret at=1"})
    assert response.status_code == 500
    assert "secret" not in response.text
    assert response.json()["error"]["code"] == "internal_error"


async def test_malformed_requests_count_as_errors_and_not_as_requests(http: httpx.AsyncClient) -> None:
    assert (await http.post("/v1/completions", json={"prompt": "a", "n": 0})).status_code == 400
    assert (await http.post("/v1/completions", json={"prompt": "a", "model": "other"})).status_code == 404
    assert (await http.post("/v1/completions", json={"prompt": "fail=context_length_exceeded"})).status_code == 400
    assert await metric(http, "fastgen_requests_total") == 0
    assert await metric(http, "fastgen_request_errors_total", code="model_not_found") == 1
    assert await metric(http, "fastgen_request_errors_total", code="context_length_exceeded") == 1


async def test_a_body_too_large_is_refused_with_the_number() -> None:
    config = ServerConfig(port=0, grpc_port=0, max_body_bytes=2048)
    async with running_server(config) as server, httpx.AsyncClient(base_url=server.http) as http:
        response = await http.post("/v1/completions", json={"prompt": "x" * 3000})
        assert response.status_code == 413
        assert "2048 bytes" in response.json()["error"]["message"]
        async with grpc.aio.insecure_channel(server.grpc) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await GenerationStub(channel).Generate(pb.GenerateRequest(text="x" * 3000))
            assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("prompt", ["tokens=1000 gap=0.01", ["tokens=1000 gap=0.01", "tokens=1000 gap=0.01"]])
async def test_a_client_that_leaves_ends_its_sequences(server: Running, stream: bool, prompt: Any) -> None:
    async with httpx.AsyncClient(base_url=server.http, timeout=10) as http:
        sending = asyncio.create_task(http.post("/v1/completions", json={"prompt": prompt, "stream": stream}))
        number = len(prompt) if isinstance(prompt, list) else 1
        await eventually_async(lambda: server.backend.running == number)
        sending.cancel()
        left = time.monotonic()
        await eventually_async(lambda: server.backend.running == 0, timeout_seconds=1)
        assert time.monotonic() - left < 0.5
        assert server.backend.cancelled == number
        await eventually_async(lambda: server.service.num_running == 0)
        assert await metric(http, "fastgen_requests_total") == 1


async def test_a_grpc_client_that_cancels_ends_its_sequence(server: Running, stub: GenerationStub) -> None:
    call = stub.GenerateStream(pb.GenerateRequest(text="tokens=1000 gap=0.01"))
    await call.read()
    call.cancel()
    await eventually_async(lambda: server.backend.cancelled == 1, timeout_seconds=1)
    unary = stub.Generate(pb.GenerateRequest(text="tokens=1000 gap=0.01"))
    await eventually_async(lambda: server.backend.running == 1)
    unary.cancel()
    await eventually_async(lambda: server.backend.cancelled == 2, timeout_seconds=1)


async def test_a_grpc_deadline_ends_the_sequence(server: Running, stub: GenerationStub) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Generate(pb.GenerateRequest(text="tokens=1000 gap=0.01"), timeout=0.2)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    await eventually_async(lambda: server.backend.cancelled == 1, timeout_seconds=1)


async def test_a_client_that_does_not_read_holds_up_nobody(server: Running, http: httpx.AsyncClient) -> None:
    _, writer = await post_by_hand(server, {"prompt": "tokens=200000", "stream": True})
    await eventually_async(lambda: server.backend.running == 1)
    response = await http.post("/v1/completions", json={"prompt": "tokens=2"})
    assert response.json()["choices"][0]["text"] == "ab"
    assert server.backend.running == 1
    writer.transport.abort()
    await eventually_async(lambda: server.backend.running == 0, timeout_seconds=2)


async def test_several_prompts_and_choices_are_numbered_through(http: httpx.AsyncClient) -> None:
    body = {"prompt": ["tokens=1", "tokens=2"], "n": 2, "echo": True, "return_token_ids": True}
    answer = (await http.post("/v1/completions", json=body)).json()
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    assert [choice["text"] for choice in answer["choices"]] == ["tokens=1a", "tokens=1a", "tokens=2ab", "tokens=2ab"]
    assert answer["choices"][2]["token_ids"] == [97, 98]
    assert answer["usage"]["prompt_tokens"] == 16
    assert answer["usage"]["completion_tokens"] == 6
    streamed = (await http.post("/v1/completions", json={**body, "stream": True})).text
    texts = ["", "", "", ""]
    for _, chunk in events(streamed)[:-1]:
        texts[chunk["choices"][0]["index"]] += chunk["choices"][0]["text"]
    assert texts == ["tokens=1a", "tokens=1a", "tokens=2ab", "tokens=2ab"]


async def test_one_failing_prompt_fails_the_request_and_ends_the_others(
    server: Running, http: httpx.AsyncClient
) -> None:
    body = {"prompt": ["tokens=1000 gap=0.01", "fail=out_of_memory"]}
    response = await http.post("/v1/completions", json=body)
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "out_of_memory"
    assert server.backend.running == 0
    assert server.backend.cancelled == 1


async def test_too_many_answers_are_refused_with_the_numbers(http: httpx.AsyncClient) -> None:
    response = await http.post("/v1/completions", json={"prompt": ["a"] * 65, "n": 2})
    assert response.status_code == 400
    assert "65 prompts times n=2 are 130 answers; at most 128" in response.json()["error"]["message"]


async def test_logprobs_in_both_shapes(http: httpx.AsyncClient) -> None:
    answer = (await http.post("/v1/completions", json={"prompt": "tokens=2", "logprobs": 2})).json()
    assert answer["choices"][0]["logprobs"] == {
        "tokens": ["a", "b"],
        "token_logprobs": [-0.5, -0.5],
        "top_logprobs": [{"A": -1.5, "a": -0.5}, {"A": -1.5, "b": -0.5}],
        "text_offset": [0, 1],
    }
    message = {"role": "user", "content": "tokens=1"}
    body = {"messages": [message], "logprobs": True, "top_logprobs": 2}
    answer = (await http.post("/v1/chat/completions", json=body)).json()
    assert answer["choices"][0]["logprobs"]["content"] == [
        {
            "token": "a",
            "logprob": -0.5,
            "bytes": [97],
            "top_logprobs": [
                {"token": "a", "logprob": -0.5, "bytes": [97]},
                {"token": "A", "logprob": -1.5, "bytes": [65]},
            ],
        }
    ]


async def test_the_receipt_says_what_was_missed(http: httpx.AsyncClient) -> None:
    slow = (await http.post("/v1/completions", json={"prompt": "tokens=2 gap=0.3 and a few more words"})).json()
    receipt = slow["usage"]["sla"]
    assert receipt["effective"] is False
    assert receipt["first_token_seconds"] >= 0.3
    assert receipt["allowed_first_token_seconds"] == slow["usage"]["prompt_tokens"] / 512
    assert receipt["worst_gap_ema_seconds"] >= 0.3
    assert "first token took" in receipt["reason"]
    assert "moving average" in receipt["reason"]
    # A gap of 0.3 s is late at 4 and 6 tokens/s and fine at 2, but the first token was late at every rate.
    assert await metric(http, "fastgen_effective_requests_total", generation_rate="2") == 0
    patient = "tokens=2 gap=0.3 " + "x" * 300
    assert (await http.post("/v1/completions", json={"prompt": patient})).status_code == 200
    assert await metric(http, "fastgen_effective_requests_total", generation_rate="2") == 1
    assert await metric(http, "fastgen_effective_requests_total", generation_rate="4") == 0
    assert await metric(http, "fastgen_requests_total") == 2


async def test_receipts_can_be_switched_off_and_the_rate_chosen() -> None:
    config = ServerConfig(port=0, grpc_port=0, receipts=False, sla_generation_tokens_per_second=1.5)
    async with running_server(config) as server, httpx.AsyncClient(base_url=server.http) as http:
        answer = (await http.post("/v1/completions", json={"prompt": "tokens=1 " + "x" * 100})).json()
        assert "sla" not in answer["usage"]
        for rate in ("1.5", "2", "4", "6"):
            assert await metric(http, "fastgen_effective_requests_total", generation_rate=rate) == 1
        async with grpc.aio.insecure_channel(server.grpc) as channel:
            reply = await GenerationStub(channel).Generate(pb.GenerateRequest(text="tokens=1"))
            assert not reply.usage.HasField("sla")


async def test_an_engine_that_is_down_is_not_ready(server: Running, http: httpx.AsyncClient) -> None:
    assert (await http.get("/readyz")).status_code == 200
    server.backend.alive = False
    response = await http.get("/readyz")
    assert response.status_code == 503
    assert "restarted" in response.text
    assert (await http.get("/healthz")).status_code == 200
    assert await metric(http, "fastgen_engine_up") == 0
    assert await metric(http, "fastgen_ready") == 0


async def test_unknown_paths_and_methods_answer_in_openais_shape(http: httpx.AsyncClient) -> None:
    missing = await http.get("/v2/nothing")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
    wrong = await http.get("/v1/completions")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "method_not_allowed")
    assert (await http.get("/v1/models/scripted")).json()["id"] == "scripted"
    assert (await http.get("/v1/models/other")).status_code == 404


async def test_a_request_id_of_the_clients_is_kept_and_a_wild_one_is_not(http: httpx.AsyncClient) -> None:
    kept = await http.post("/v1/completions", json={"prompt": "a"}, headers={"X-Request-Id": "trace-1"})
    assert kept.headers["x-request-id"] == kept.json()["id"] == "trace-1"
    wild = await http.post("/v1/completions", json={"prompt": "a"}, headers={"X-Request-Id": "a b\tc"})
    assert wild.json()["id"].startswith("cmpl-")


async def test_an_engine_that_does_not_come_back_is_a_reason_to_start_anew(
    server: Running, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastgen_server.lifecycle.LOST_SECONDS", 0.0)
    server.backend.alive = False
    server.lifecycle.watch()
    assert (await http.get("/healthz")).status_code == 503
    server.backend.alive = True
    server.lifecycle.watch()
    assert (await http.get("/healthz")).status_code == 200


async def test_long_prompts_are_tokenized_beside_the_loop(server: Running, http: httpx.AsyncClient) -> None:
    tokenizer = cast(CharacterTokenizer, server.backend.tokenizer)
    here = threading.get_ident()
    long = "tokens=1 " + "x" * 10_000
    for content in ("tokens=1", long):
        await http.post("/v1/completions", json={"prompt": content, "max_tokens": 1})
        await http.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": content}]})
    assert [thread == here for thread in tokenizer.threads] == [True, True, False, False]


async def test_a_priority_that_would_change_nothing_is_refused(
    server: Running, http: httpx.AsyncClient, stub: GenerationStub
) -> None:
    server.backend.info = replace(INFO, queue_policy="fcfs")
    assert (await http.post("/v1/completions", json={"prompt": "a", "priority": 0})).status_code == 200
    response = await http.post("/v1/completions", json={"prompt": "a", "priority": 1})
    assert response.status_code == 400
    assert "--queue-policy priority" in response.json()["error"]["message"]
    with pytest.raises(grpc.aio.AioRpcError, match="queue policy is fcfs"):
        await stub.Generate(pb.GenerateRequest(text="a", priority=-1))
