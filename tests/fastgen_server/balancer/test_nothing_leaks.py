"""Whatever happens to requests, in the end nothing is counted that is not there."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import aiohttp
import grpc
import grpc.aio
from balancer_front import Front, front_of, listed
from fake_replica import FakeReplica
from waiting import eventually_async

REQUESTS = 250
HTTP_ORDERS: tuple[dict[str, Any], ...] = (
    {},
    {"sleep": 0.05, "max_tokens": 500},
    {"stream": True, "events": 10, "gap": 0.01, "n": 2},
    {"stream": True, "events": 10, "gap": 0.005, "die_after_events": 4},
    {"status": 503},
    {"only": "a"},
    {"length": 200_000},
    {"padding": "x" * 20_000},  # Longer than is taken.
)


async def test_after_a_storm_of_ends_of_all_kinds_everything_is_back_to_nothing(
    pair: tuple[FakeReplica, FakeReplica],
) -> None:
    rng = random.Random(7)
    a, b = pair
    async with (
        front_of(a, b, max_in_flight=60, hold_requests=10, hold_seconds=0.5, max_body_bytes=16_000) as front,
        grpc.aio.insecure_channel(front.balancer.grpc_address) as channel,
    ):
        flapping = asyncio.create_task(_flap(front, a, b, rng))
        storm = [asyncio.create_task(_one(front, channel, rng.randrange(10**9))) for _ in range(REQUESTS)]
        ends = await asyncio.wait_for(asyncio.gather(*storm), 60)
        flapping.cancel()
        await asyncio.gather(flapping, return_exceptions=True)
        a.ready = b.ready = True
        front.balancer.pool.update(listed(a, b))

        balancer = front.balancer
        await eventually_async(lambda: balancer.gate.in_flight == 0)
        await eventually_async(lambda: sum(replica.in_flight for replica in balancer.pool.replicas) == 0)
        assert [replica.own_tokens for replica in balancer.pool.replicas] == [0.0] * len(balancer.pool.replicas)
        assert balancer.pool.num_held == 0
        assert balancer.gate._buffered_bytes == 0
        await eventually_async(lambda: a.in_flight == b.in_flight == 0)
        # Something of everything happened, or this test proves little.
        assert {"200", "503", "413", "cut", "left", "OK", "CANCELLED"} <= set(ends)
        counted = 0.0
        for protocol in ("http", "grpc"):
            counted += await front.metric(f'fastgen_balancer_offered_requests_total{{protocol="{protocol}"}}')
        assert counted <= REQUESTS
        await eventually_async(lambda: len(balancer.pool.ready("http")) == 2)
        async with front.post() as response:
            assert response.status == 200


async def _flap(front: Front, a: FakeReplica, b: FakeReplica, rng: random.Random) -> None:
    while True:
        a.ready, b.ready = rng.random() < 0.7, rng.random() < 0.7
        front.balancer.pool.update(listed(*rng.choice(((a, b), (a, b), (a,), (b,)))))
        await asyncio.sleep(0.05)


async def _one(front: Front, channel: Any, seed: int) -> str:
    """How one request ended, after a random wait; some of them leave before it does."""
    rng = random.Random(seed)
    await asyncio.sleep(rng.random() * 2)
    work = asyncio.create_task(_by_grpc(channel, rng) if rng.random() < 0.4 else _by_http(front, rng))
    if rng.random() < 0.3:
        await asyncio.wait([work], timeout=rng.random() * 0.1)
        work.cancel()
    try:
        return await work
    except asyncio.CancelledError:
        return "left"


async def _by_http(front: Front, rng: random.Random) -> str:
    try:
        async with front.post(**rng.choice(HTTP_ORDERS)) as response:
            await response.read()
            return str(response.status)
    except aiohttp.ClientError:
        return "cut"


async def _by_grpc(channel: Any, rng: random.Random) -> str:
    call: Any
    if rng.random() < 0.5:
        call = channel.unary_unary("/fastgen.v1.Generation/Generate")(b"x" * 100)
    else:
        call = channel.unary_stream("/test.Echo/ServerStream")(b"[10, 0.01, 0]")
    try:
        if rng.random() < 0.2:
            asyncio.get_running_loop().call_later(rng.random() * 0.05, call.cancel)
        if hasattr(call, "read"):
            async for _message in call:
                pass
        code: grpc.StatusCode = await call.code()
        return code.name
    except grpc.aio.AioRpcError as error:
        return error.code().name
    except asyncio.CancelledError:
        call.cancel()
        return grpc.StatusCode.CANCELLED.name
