"""The balancer in front of `fastgen serve` itself: the answers, the receipts and the ends are the replica's own."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import grpc.aio
import openai
import pytest
from balancer_front import Front, front_of
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from serve_process import ServeProcess, serve_process
from waiting import eventually_async

from fastgen.clients import Client
from fastgen_server.balancer.replica import ReplicaAddress

pytestmark = pytest.mark.slow

FLAGS = (
    "--token-budget",
    "64",
    "--no-load-progress",
    "--linear",
    "plain",
    "--dtype",
    "float32",
    "--model-name",
    "tiny",
)
PROMPT = [5, 6, 7, 8] * 10
ASK: dict[str, Any] = {"model": "tiny", "prompt": PROMPT, "temperature": 0, "extra_body": {"ignore_eos": True}}


class Real(NamedTuple):
    """A server as `front_of` wants it."""

    server: ServeProcess
    name: str
    ready: bool = True

    @property
    def address(self) -> ReplicaAddress:
        return ReplicaAddress(self.server.http.removeprefix("http://"), self.server.grpc, self.name)


@pytest.fixture
def servers(tiny_llama: Path, tmp_path: Path) -> Iterator[list[Real]]:
    with ExitStack() as stack, ThreadPoolExecutor() as threads:  # Two at a time: each takes a while to import.

        def start(name: str) -> Real:
            return Real(stack.enter_context(serve_process(tiny_llama, tmp_path / name, *FLAGS)), name)

        yield list(threads.map(start, ("a", "b")))


def client_of(front: Front) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=front.url + "/v1", api_key="none", max_retries=0)


async def test_answers_cancellation_load_and_a_kill(servers: list[Real]) -> None:
    a, b = servers
    async with front_of(a, b) as front:
        whole = await _the_same_both_ways(front, a)
        await _reflection(front)
        await _leaving_ends_the_work(front, a, b)
        await _others_work_is_seen(front, a)
        await _a_kill(front, a, whole)


async def _the_same_both_ways(front: Front, a: Real) -> str:
    """HTTP, streamed HTTP and gRPC say what the replica says when asked directly."""
    direct = openai.AsyncOpenAI(base_url=a.server.http + "/v1", api_key="none")
    expected: str = (await direct.completions.create(max_tokens=24, **ASK)).choices[0].text
    answer = await client_of(front).completions.create(max_tokens=24, **ASK)
    assert answer.choices[0].text == expected
    assert answer.usage is not None
    assert answer.usage.model_dump()["sla"]["effective"] in (True, False)
    stream = await client_of(front).completions.create(max_tokens=24, stream=True, **ASK)
    pieces = [chunk.choices[0].text async for chunk in stream if chunk.choices]
    assert "".join(pieces) == expected
    assert len(pieces) > 5
    with Client(front.balancer.grpc_address) as client:
        streamed = client.stream_async(PROMPT, max_new_tokens=24, temperature=0.0, ignore_eos=True)
        assert "".join([delta.text async for delta in streamed]) == expected
    return expected


async def _reflection(front: Front) -> None:
    async with grpc.aio.insecure_channel(front.balancer.grpc_address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)

        async def ask() -> Any:
            yield reflection_pb2.ServerReflectionRequest(list_services="")

        answers = [answer async for answer in stub.ServerReflectionInfo(ask())]
    assert "fastgen.v1.Generation" in {service.name for service in answers[0].list_services_response.service}


async def _leaving_ends_the_work(front: Front, *replicas: Real) -> None:
    """A client that leaves frees its sequences at the replica, through the balancer."""
    stream = await client_of(front).completions.create(max_tokens=1500, stream=True, **ASK)
    await anext(aiter(stream))
    assert sum(r.server.metric("fastgen_num_requests_running") for r in replicas) == 1
    await stream.close()
    left = time.monotonic()
    await eventually_async(lambda: sum(r.server.metric("fastgen_num_requests_running") for r in replicas) == 0)
    assert time.monotonic() - left < 1.0  # Asking for /metrics takes its time; 1500 tokens would take far longer.


async def _others_work_is_seen(front: Front, a: Real) -> None:
    """What somebody else sent to a replica keeps this balancer's requests away from it."""
    direct = openai.AsyncOpenAI(base_url=a.server.http + "/v1", api_key="none")
    asks = [direct.completions.create(max_tokens=200, **{**ASK, "prompt": [i, 5] * 400}) for i in range(20)]
    load = asyncio.gather(*asks)
    replica = next(r for r in front.balancer.pool.replicas if r.name == "a")
    await eventually_async(lambda: replica.load(time.monotonic()).outstanding_tokens > 1000)
    load.cancel()
    await asyncio.gather(load, return_exceptions=True)
    await eventually_async(lambda: replica.load(time.monotonic()).outstanding_tokens == 0)  # And its end is, too.


async def _a_kill(front: Front, a: Real, expected: str) -> None:
    replica = next(r for r in front.balancer.pool.replicas if r.name == "a")
    client = client_of(front)
    streams = [await client.completions.create(max_tokens=1500, stream=True, **ASK) for _ in range(2)]
    waiting = [asyncio.ensure_future(client.completions.create(max_tokens=150, **ASK)) for _ in range(8)]
    await eventually_async(lambda: replica.in_flight >= 3)
    a.server.process.send_signal(signal.SIGKILL)
    answers = await asyncio.gather(*waiting)
    assert all(answer.choices[0].text.startswith(expected) for answer in answers)
    ends = await asyncio.gather(*(_end_of(stream) for stream in streams))
    assert "cut" in ends
    assert set(ends) <= {"cut", "whole"}


async def _end_of(stream: openai.AsyncStream[Any]) -> str:
    try:
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].finish_reason:
                return "whole"
    except openai.APIError as error:
        return "cut" if "went away" in str(error) else str(error)
    return "silent"
