"""HTTP through the balancer: what goes in comes out, and what breaks is seen."""

from __future__ import annotations

import asyncio
import socket
import time

import aiohttp
import pytest
from balancer_front import Front, front_of, listed
from fake_replica import FakeReplica
from waiting import eventually_async

Pair = tuple[FakeReplica, FakeReplica]


async def test_a_request_reaches_a_replica_as_it_was_sent(pair: Pair) -> None:
    a, _b = pair
    async with front_of(a) as front:
        url = front.url + "/v1/x%2Fy?q=a%20b&q=c"
        headers = {"Authorization": "Bearer k", "X-Request-Id": "7", "Connection": "X-Mine", "X-Mine": "1"}
        async with front.client.put(url, data=b"\x00raw", headers=headers) as response:
            assert await response.read() == b"\x00raw"
            assert response.headers["X-Replica"] == "a"
            assert "X-Hop" not in response.headers
    (seen,) = a.seen
    assert (seen["method"], seen["path"], seen["bytes"]) == ("PUT", "/v1/x%2Fy?q=a%20b&q=c", 4)
    assert seen["headers"]["Authorization"] == "Bearer k"
    assert seen["headers"]["X-Forwarded-For"] == "127.0.0.1"
    assert "X-Mine" not in seen["headers"]


async def test_a_stream_arrives_event_by_event(pair: Pair) -> None:
    async with front_of(pair[0]) as front, front.post(stream=True, events=5, gap=0.1) as response:
        times = []
        async for _piece in response.content.iter_any():
            times.append(time.monotonic())
        assert response.headers["Content-Type"] == "text/event-stream"
    assert len(times) >= 5
    assert times[-1] - times[0] > 0.3  # Not held back to the end.


@pytest.mark.parametrize("length", [0, 10, 65536, 65537, 3_000_000])
async def test_fixed_length_answers_of_any_size_are_whole(pair: Pair, length: int) -> None:
    async with front_of(pair[0]) as front, front.post(length=length) as response:
        assert await response.read() == b"x" * length
        assert response.headers["Content-Length"] == str(length)


async def test_a_client_that_leaves_is_gone_at_the_replica_within_100_ms(pair: Pair) -> None:
    a, _b = pair
    async with front_of(a) as front:
        streaming = await front.post(stream=True, events=1000, gap=0.01)
        await streaming.content.readany()
        left = time.monotonic()
        streaming.close()
        await eventually_async(lambda: a.left)
        assert a.left[0] - left < 0.1

        waiting = front.start(sleep=30)
        await eventually_async(lambda: a.in_flight == 1)
        left = time.monotonic()
        waiting.cancel()
        await eventually_async(lambda: len(a.left) == 2)
        assert a.left[1] - left < 0.1
        await eventually_async(lambda: front.balancer.gate.in_flight == 0)
        assert await front.metric('fastgen_balancer_requests_total{code="499",protocol="http"}') == 2


async def test_a_stream_whose_replica_goes_away_ends_with_an_error_event_and_no_proper_end(pair: Pair) -> None:
    async with front_of(pair[0]) as front, front.post(stream=True, events=9, die_after_events=3) as response:
        received = b""
        with pytest.raises(aiohttp.ClientPayloadError):  # noqa: PT012 - what came before the error counts
            while piece := await response.content.readany():
                received += piece
    assert b"data: 2\n\n" in received
    assert b'event: error\ndata: {"error":' in received
    assert received.endswith(b"\n\n")


async def test_503_is_tried_elsewhere_and_told_when_there_is_no_elsewhere(pair: Pair) -> None:
    a, b = pair
    async with front_of(a, b) as front:
        for _ in range(4):
            async with front.post(only="b") as response:
                assert response.status == 200
                assert response.headers["X-Replica"] == "b"
        async with front.post(only="nobody") as response:
            assert response.status == 503
        assert len(b.seen) == 5
        assert await front.metric('fastgen_balancer_retries_total{reason="busy"}') >= 2


async def test_what_has_begun_is_never_tried_again(pair: Pair) -> None:
    a, b = pair
    async with front_of(a, b) as front, front.post(stream=True, events=5, die_after_events=1) as response:
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
    assert len(a.seen) + len(b.seen) == 1


async def test_too_long_a_body_is_413_whether_or_not_its_length_is_told(pair: Pair) -> None:
    async def endless() -> object:
        for _ in range(100):
            yield b"x" * 1000

    async with front_of(pair[0], max_body_bytes=4096) as front:
        for body in (b"x" * 5000, endless()):
            async with front.client.post(front.url, data=body) as response:
                assert response.status == 413
                assert "max_body_bytes" in await response.text()
    assert not pair[0].seen


async def test_a_body_waits_for_100_continue(pair: Pair) -> None:
    async with front_of(pair[0]) as front, front.client.post(front.url, data=b"y" * 2000, expect100=True) as response:
        assert await response.read() == b"y" * 2000


async def test_full_is_503_with_retry_after_and_still_counts_as_offered(pair: Pair) -> None:
    a, _b = pair
    async with front_of(a, max_in_flight=1) as front:
        first = front.start(sleep=0.5)
        await eventually_async(lambda: a.in_flight == 1)
        async with front.post(max_tokens=7) as response:
            assert response.status == 503
            assert response.headers["Retry-After"] == "1"
            assert (await response.json())["error"]["code"] == "overloaded"
        assert (await first).status == 200
        assert await front.metric('fastgen_balancer_offered_requests_total{protocol="http"}') == 2


async def test_with_no_replica_requests_wait_for_one(pair: Pair) -> None:
    a, b = pair
    a.ready = b.ready = False
    async with front_of(a, b, hold_requests=2, hold_seconds=20) as front:
        held = [front.start(i=i) for i in range(2)]
        await eventually_async(lambda: front.balancer.pool.num_held == 2)
        assert await front.metric("fastgen_balancer_held_requests") == 2
        async with front.post() as response:  # One too many.
            assert response.status == 503
            assert int(response.headers["Retry-After"]) >= 1
        b.ready = True
        assert [response.status for response in await asyncio.gather(*held)] == [200, 200]
        assert await front.metric("fastgen_balancer_queue_seconds_count") == 2


async def test_waiting_ends_after_hold_seconds() -> None:
    async with front_of(hold_seconds=0.2) as front, front.post() as response:
        assert response.status == 503
        assert "0.2 s" in (await response.json())["error"]["message"]


async def test_a_replica_that_leaves_the_list_finishes_its_streams(pair: Pair) -> None:
    a, b = pair
    async with front_of(a) as front:
        response = await front.post(stream=True, events=20, gap=0.02)
        await response.content.readany()
        front.balancer.pool.update(listed(b))
        assert await front.metric('fastgen_balancer_replicas{state="draining"}') == 1
        async with front.post() as other:
            assert other.headers["X-Replica"] == "b"
        assert (await response.read()).endswith(b"data: 19\n\n")
        await eventually_async(lambda: len(front.balancer.pool.replicas) == 1)


async def test_its_own_paths_are_not_passed_through(pair: Pair) -> None:
    async with front_of(pair[0]) as front:
        for path in ("/healthz", "/readyz", "/metrics"):
            async with front.client.get(front.url + path) as response:
                assert response.status == 200
        front.balancer.gate.draining = True
        async with front.client.get(front.url + "/readyz") as response:
            assert response.status == 503
        async with front.client.get(front.url + "/healthz") as response:
            assert response.status == 200
    assert not pair[0].seen


async def test_answers_without_a_body_stay_without(pair: Pair) -> None:
    async with front_of(pair[0]) as front:
        async with front.client.head(front.url + "/v1/models") as head:
            assert (head.status, await head.read()) == (200, b"")
        for status in (204, 304):
            async with front.post(status=status) as response:
                assert (response.status, await response.read()) == (status, b"")


async def test_while_it_drains_connections_are_not_kept(pair: Pair) -> None:
    async with front_of(pair[0]) as front:
        front.balancer.gate.draining = True
        async with front.post() as response:
            assert response.status == 200
            assert response.headers["Connection"] == "close"
        front.balancer.gate.closed = True
        async with front.post() as response:
            assert response.status == 503
            assert (await response.json())["error"]["code"] == "shutting_down"


async def test_malformed_http_is_refused_and_the_balancer_lives(pair: Pair) -> None:
    async with front_of(pair[0]) as front:
        for nonsense in (
            b"GARBAGE\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        ):
            assert b" 400 " in await asyncio.to_thread(_talk, front, nonsense)
        async with front.post() as response:
            assert response.status == 200
    assert len(pair[0].seen) == 1


def _talk(front: Front, sent: bytes) -> bytes:
    host, port = front.balancer.http_address.split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(sent)
        return connection.recv(4096)
