"""gRPC through the balancer: all four kinds of call, metadata, status, deadline, cancellation."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from balancer_front import Front, front_of
from fake_replica import FakeReplica
from waiting import eventually_async

from fastgen_server.balancer.grpc_wire import EOF

Pair = tuple[FakeReplica, FakeReplica]


async def _error_of(call: Any) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


@asynccontextmanager
async def channel_to(front: Front) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(front.balancer.grpc_address) as channel:
        yield channel


async def _of(*messages: bytes) -> AsyncIterator[bytes]:
    for message in messages:
        yield message


async def test_all_four_kinds_of_call(pair: Pair) -> None:
    async with front_of(pair[0]) as front, channel_to(front) as channel:
        assert await channel.unary_unary("/test.Echo/Unary")(b"\x00x") == b"\x00x"
        streamed = channel.unary_stream("/test.Echo/ServerStream")(b"[3, 0, 0]")
        assert [message async for message in streamed] == [b"0", b"1", b"2"]
        assert await channel.stream_unary("/test.Echo/ClientStream")(_of(b"a", b"b")) == b"a+b"
        both = channel.stream_stream("/test.Echo/Bidi")
        assert [message async for message in both(_of(b"a", b"b"))] == [b"re:a", b"re:b"]


async def test_a_conversation_goes_back_and_forth_even_if_the_replica_speaks_first(pair: Pair) -> None:
    async with front_of(pair[0]) as front, channel_to(front) as channel:
        call = channel.stream_stream("/test.Echo/Greet")()
        assert await asyncio.wait_for(call.read(), 5) == b"hello"
        for word in (b"one", b"two"):
            await call.write(word)
            assert await asyncio.wait_for(call.read(), 5) == word
        await call.done_writing()
        assert await call.read() is EOF


async def test_metadata_goes_both_ways(pair: Pair) -> None:
    async with front_of(pair[0]) as front, channel_to(front) as channel:
        call = channel.unary_unary("/test.Echo/Unary")(b"", metadata=(("x-tenant", "t"), ("x-raw-bin", b"\x00\x01")))
        await call
        assert ("x-replica", "a") in list(await call.initial_metadata())
        trailing = dict(await call.trailing_metadata())
        assert trailing["x-trailer"] == "kept"
        assert trailing["x-bytes-bin"] == b"\x00\xff"
    (seen,) = pair[0].seen
    assert seen["metadata"]["x-tenant"] == "t"
    assert seen["metadata"]["x-raw-bin"] == b"\x00\x01"


async def test_an_error_keeps_its_code_details_and_metadata(pair: Pair) -> None:
    async with front_of(*pair) as front, channel_to(front) as channel:
        error = await _error_of(channel.unary_unary("/test.Echo/Fail")(b""))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert error.details() == "n=0: at least 1"
        trailing = dict(error.trailing_metadata())
        assert trailing["grpc-status-details-bin"] == b"\x08\x03details"
        assert trailing["fastgen-error-param"] == "n"
        unknown = await _error_of(channel.unary_unary("/test.Echo/Nothing")(b""))
        assert unknown.code() is grpc.StatusCode.UNIMPLEMENTED
        assert (await front.metric('fastgen_balancer_requests_total{code="INVALID_ARGUMENT",protocol="grpc"}')) == 1


async def test_the_deadline_goes_with_the_call(pair: Pair) -> None:
    async with front_of(pair[0]) as front, channel_to(front) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/test.Echo/Hang")(b"30", timeout=0.4)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert 0 < pair[0].seen[0]["remaining"] <= 0.4
        await eventually_async(lambda: pair[0].in_flight == 0)


async def test_a_client_that_cancels_is_gone_at_the_replica_within_100_ms(pair: Pair) -> None:
    a, _b = pair
    async with front_of(a) as front, channel_to(front) as channel:
        waiting = channel.unary_unary("/test.Echo/Hang")(b"30")
        streaming = channel.unary_stream("/test.Echo/ServerStream")(b"[1000, 0.01, 0]")
        await streaming.read()
        await eventually_async(lambda: a.in_flight == 2)
        left = time.monotonic()
        waiting.cancel()
        streaming.cancel()
        await eventually_async(lambda: len(a.left) == 2)
        assert max(a.left) - left < 0.1
        await eventually_async(lambda: front.balancer.gate.in_flight == 0)
        assert sum(replica.in_flight for replica in front.balancer.pool.replicas) == 0


async def test_health_is_the_balancers_own(pair: Pair) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    async with front_of(pair[0]) as front, channel_to(front) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        serving = health_pb2.HealthCheckResponse.SERVING
        assert (await stub.Check(health_pb2.HealthCheckRequest(service="any"))).status == serving
        watch = stub.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == serving
        front.balancer.gate.draining = True
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()


async def test_refusals_say_when_to_come_again(pair: Pair) -> None:
    a, _b = pair
    a.ready = False
    async with front_of(a, hold_seconds=0.2, max_in_flight=1) as front, channel_to(front) as channel:
        errors = []
        for _ in range(2):
            errors.append(asyncio.ensure_future(_error_of(channel.unary_unary("/test.Echo/Unary")(b""))))
        by_code = {error.code(): error for error in await asyncio.gather(*errors)}
    assert set(by_code) == {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}
    for error in by_code.values():
        trailing = dict(error.trailing_metadata())
        assert int(trailing["retry-after"]) >= 1
        details = trailing["grpc-status-details-bin"]
        assert b"type.googleapis.com/google.rpc.RetryInfo" in details
        assert error.details().encode() in details


async def test_held_calls_go_on_once_a_replica_is_ready(pair: Pair) -> None:
    a, _b = pair
    a.ready = False
    async with front_of(a) as front, channel_to(front) as channel:
        held = asyncio.ensure_future(_answer(channel.unary_unary("/test.Echo/Unary")(b"patience")))
        await eventually_async(lambda: front.balancer.pool.num_held == 1)
        a.ready = True
        assert await held == b"patience"


async def _answer(call: Any) -> bytes:
    return bytes(await call)


async def test_a_closed_port_is_tried_elsewhere_and_left_out(pair: Pair) -> None:
    a, b = pair
    async with front_of(a, b, health_interval_seconds=30.0) as front, channel_to(front) as channel:
        await a.close()
        for i in range(10):
            assert await channel.unary_unary("/test.Echo/Unary")(b"%d" % i) == b"%d" % i
        assert await front.metric('fastgen_balancer_retries_total{reason="connection"}') == 1
        assert await front.metric('fastgen_balancer_ejections_total{replica="a"}') == 1
    assert len(b.seen) == 10


async def test_too_long_a_message_is_refused(pair: Pair) -> None:
    async with front_of(pair[0], max_body_bytes=4096) as front, channel_to(front) as channel:
        error = await _error_of(channel.unary_unary("/test.Echo/Unary")(b"x" * 5000))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        long_stream = channel.stream_unary("/test.Echo/ClientStream")(_of(*[b"y" * 1000] * 10))
        assert len(await long_stream) == 10_009  # Longer than is kept: it flows, and cannot be tried again.


def test_the_field_numbers_are_those_of_the_interface() -> None:
    from fastgen.v1 import generation_pb2 as generation
    from fastgen_server.balancer.work import Work, grpc_work

    request = generation.GenerateRequest()
    request.token_ids.ids.extend([1, 200, 70_000])
    request.sampling.max_new_tokens = 300
    request.sampling.n = 2
    request.sampling.temperature = 0.5
    assert grpc_work("/fastgen.v1.Generation/Generate", request.SerializeToString()) == Work(3, 600)
    text = generation.GenerateRequest(text="word " * 100)
    assert grpc_work("/fastgen.v1.Generation/GenerateStream", text.SerializeToString()).prompt_tokens == 126
    assert json.dumps(grpc_work("/grpc.reflection.v1alpha.ServerReflection/Info", b"x")) == "[0, 0]"
