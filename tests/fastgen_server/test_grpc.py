"""gRPC is the same service as HTTP: the same answers, errors and limits. Real sockets, scripted engine."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from scripted_backend import Running, metric
from waiting import eventually_async

from fastgen.v1 import generation_pb2 as pb
from fastgen.v1.generation_pb2_grpc import GenerationStub


async def test_grpc_answers_as_http_does(http: httpx.AsyncClient, stub: GenerationStub) -> None:
    sampling = pb.Sampling(n=2, logprobs=2, seed=5, temperature=0)
    reply = await stub.Generate(pb.GenerateRequest(text="tokens=3", sampling=sampling))
    assert [choice.text for choice in reply.choices] == ["abc", "abc"]
    assert list(reply.choices[1].token_ids) == [97, 98, 99]
    assert reply.choices[0].finish_reason == pb.FINISH_REASON_LENGTH
    assert [item.token for item in reply.choices[0].logprobs] == ["a", "b", "c"]
    assert [(top.token, top.logprob) for top in reply.choices[0].logprobs[0].top] == [("a", -0.5), ("A", -1.5)]
    assert reply.choices[0].timing.total_seconds == 0.003
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (8, 6)
    assert reply.usage.sla.effective
    assert reply.usage.sla.allowed_gap_seconds == 0.25

    chunks = [chunk async for chunk in stub.GenerateStream(pb.GenerateRequest(text="tokens=3"))]
    assert [chunk.choices[0].text for chunk in chunks[:-1]] == ["a", "b", "c"]
    assert not chunks[-1].choices
    assert chunks[-1].usage.completion_tokens == 3
    assert await metric(http, "fastgen_requests_total") == 2
    assert await metric(http, "fastgen_generation_tokens_total") == 9


async def test_grpc_takes_text_chat_and_token_ids(server: Running, stub: GenerationStub) -> None:
    ids = [ord(char) for char in "tokens=2"]
    requests = [
        pb.GenerateRequest(text="tokens=2"),
        pb.GenerateRequest(chat=pb.ChatMessages(messages=[pb.ChatMessage(role="user", content="tokens=2")])),
        pb.GenerateRequest(token_ids=pb.TokenIds(ids=ids), model="scripted", priority=4),
    ]
    for request in requests:
        assert (await stub.Generate(request)).choices[0].text == "ab"
    assert server.backend.priorities == [0, 0, 4]


async def test_grpc_presence_tells_zero_from_unset(server: Running, stub: GenerationStub) -> None:
    await stub.Generate(pb.GenerateRequest(text="a", sampling=pb.Sampling(temperature=0, stop=["x"], logprobs=0)))
    await stub.Generate(pb.GenerateRequest(text="a"))
    chosen, default = server.backend.seen
    assert (chosen.temperature, chosen.stop, chosen.logprobs) == (0.0, ("x",), 0)
    assert (default.temperature, default.stop, default.logprobs) == (1.0, (), None)


@pytest.mark.parametrize(
    ("request_", "status", "code", "param"),
    [
        (pb.GenerateRequest(), "INVALID_ARGUMENT", "invalid_request_error", "input"),
        (pb.GenerateRequest(chat=pb.ChatMessages()), "INVALID_ARGUMENT", "invalid_request_error", "chat"),
        (
            pb.GenerateRequest(text="a", sampling=pb.Sampling(top_p=2)),
            "INVALID_ARGUMENT",
            "invalid_request_error",
            "top_p",
        ),
        (
            pb.GenerateRequest(token_ids=pb.TokenIds(ids=[-1])),
            "INVALID_ARGUMENT",
            "invalid_request_error",
            "prompt",
        ),
        (
            pb.GenerateRequest(chat=pb.ChatMessages(messages=[pb.ChatMessage(role="robot")])),
            "INVALID_ARGUMENT",
            "invalid_request_error",
            "chat.messages[0].role",
        ),
        (pb.GenerateRequest(text="a", model="x"), "NOT_FOUND", "model_not_found", "model"),
        (pb.GenerateRequest(text="fail=overloaded"), "RESOURCE_EXHAUSTED", "overloaded", None),
        (pb.GenerateRequest(text="fail=engine_dead"), "UNAVAILABLE", "engine_dead", None),
        (pb.GenerateRequest(text="fail=a-bug"), "INTERNAL", "internal_error", None),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_grpc_errors_are_statuses_with_the_code_in_the_trailers(
    stub: GenerationStub, request_: pb.GenerateRequest, status: str, code: str, param: str | None, stream: bool
) -> None:
    call = stub.GenerateStream(request_).read() if stream else stub.Generate(request_)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    trailers: dict[str, Any] = dict(caught.value.trailing_metadata() or ())  # type: ignore[arg-type]
    assert caught.value.code().name == status
    assert trailers["fastgen-error-code"] == code
    assert trailers.get("fastgen-error-param") == param
    assert trailers.get("retry-after") == {"overloaded": "7", "engine_dead": "1"}.get(code)
    assert caught.value.details()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_grpc_call_ended_by_a_shutdown_may_be_tried_elsewhere(
    server: Running, stub: GenerationStub, stream: bool
) -> None:
    request = pb.GenerateRequest(text="tokens=1000 gap=0.01")

    async def ask() -> None:
        if stream:
            _ = [chunk async for chunk in stub.GenerateStream(request)]
        else:
            await stub.Generate(request)

    asking = asyncio.create_task(ask())
    await eventually_async(lambda: server.backend.running == 1)
    server.service.abort_all()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asking
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert "shutting_down" in str(caught.value.trailing_metadata())


async def test_grpc_health_and_reflection(server: Running) -> None:
    async with grpc.aio.insecure_channel(server.grpc) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", "fastgen.v1.Generation"):
            reply = await health.Check(health_pb2.HealthCheckRequest(service=name))
            assert reply.status == health_pb2.HealthCheckResponse.SERVING
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        async for answer in stub.ServerReflectionInfo(iter([asked])):
            names = {service.name for service in answer.list_services_response.service}
        assert names >= {"fastgen.v1.Generation", "grpc.health.v1.Health"}
