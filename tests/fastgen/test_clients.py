"""`fastgen.client` against a real server on a real socket; only the engine behind it follows a script."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import scripted_backend
from scripted_backend import Running, running_server
from waiting import eventually, eventually_async

import fastgen
from fastgen.calls import Prompt
from fastgen.clients import Client, client
from fastgen.errors import (
    EngineDeadError,
    InvalidRequestError,
    OutOfMemoryError,
    OverloadedError,
    RequestError,
    TooLongError,
    UnknownOptionError,
    UsageError,
)


@pytest.fixture
async def server() -> AsyncIterator[Running]:
    async with running_server() as running:
        yield running


@pytest.fixture
async def attached(server: Running) -> AsyncIterator[Client]:
    with client(server.grpc) as found:
        yield found


async def test_answers_come_in_the_order_of_the_prompts_and_of_n(attached: Client) -> None:
    prompts = [f"tokens={count} gap={0.01 * (5 - count)}" for count in (1, 2, 3, 4)]
    found = await asyncio.to_thread(attached.generate, prompts, n=2)
    assert [response.text for response in found] == ["a", "a", "ab", "ab", "abc", "abc", "abcd", "abcd"]
    assert [response.index for response in found] == [0, 1] * 4
    first = found[-1]
    assert (str(first), first.prompt_tokens, first.generated_tokens) == ("abcd", len(prompts[-1]), 4)
    assert (first.token_ids, first.finish_reason) == (tuple(b"abcd"), "length")
    assert first.timing.total_seconds == pytest.approx(0.003)
    assert first.receipt is not None
    assert first.receipt.allowed_gap_seconds == 0.25


async def test_a_prompt_is_text_chat_or_token_ids(attached: Client) -> None:
    ids = [ord(letter) for letter in "tokens=2"]
    prompts: tuple[Prompt, ...] = ("tokens=2", ids, [{"role": "user", "content": "tokens=2"}])
    for prompt in prompts:
        assert [r.text for r in await asyncio.to_thread(attached.generate, prompt)] == ["ab"]
    mixed: list[Prompt] = [ids, "tokens=1"]
    both = await asyncio.to_thread(attached.generate, mixed)
    assert [response.text for response in both] == ["ab", "a"]
    with pytest.raises(InvalidRequestError, match="mixes them"):
        await attached.generate_async([[1, "two"]])  # type: ignore[arg-type]


async def test_more_prompts_than_are_sent_at_once(attached: Client) -> None:
    found = await asyncio.to_thread(attached.generate, ["tokens=1"] * 150)
    assert len(found) == 150
    assert len(await attached.generate_async(["tokens=1"] * 150)) == 150


async def test_what_was_asked_for_reaches_the_engine(server: Running, attached: Client) -> None:
    await attached.generate_async("x", max_new_tokens=7, temperature=0.0, stop="end", seed=3, logprobs=1, top_k=5)
    assert server.backend.seen[-1] == fastgen.SamplingParams(
        max_new_tokens=7, temperature=0.0, stop=("end",), seed=3, logprobs=1, top_k=5
    )


async def test_logprobs_come_back(attached: Client) -> None:
    (found,) = await attached.generate_async("tokens=1", logprobs=2)
    assert found.logprobs == ((97, -0.5, ((97, -0.5), (65, -1.5))),)


async def test_a_stream_comes_piece_by_piece(attached: Client) -> None:
    def read() -> list[str]:
        return [piece.text for piece in attached.stream("tokens=3")]

    assert await asyncio.to_thread(read) == ["a", "b", "c"]
    pieces = [piece async for piece in attached.stream_async("tokens=3")]
    assert [piece.text for piece in pieces] == ["a", "b", "c"]
    assert [piece.finish_reason for piece in pieces] == [None, None, "length"]
    assert pieces[-1].timing is not None


async def test_leaving_a_stream_ends_it_at_the_server(server: Running, attached: Client) -> None:
    def leave() -> None:
        stream = attached.stream("tokens=500 gap=0.02")
        assert next(stream).text == "a"
        stream.close()  # type: ignore[attr-defined]

    await asyncio.to_thread(leave)
    await eventually_async(lambda: server.backend.cancelled == 1 and server.backend.running == 0)
    stream = attached.stream_async("tokens=500 gap=0.02")
    assert (await anext(stream)).text == "a"
    await stream.aclose()  # type: ignore[attr-defined]
    await eventually_async(lambda: server.backend.cancelled == 2 and server.backend.running == 0)


async def test_cancelling_the_task_ends_the_requests(server: Running, attached: Client) -> None:
    task = asyncio.create_task(attached.generate_async(["tokens=500 gap=0.02"] * 3))
    await eventually_async(lambda: server.backend.running == 3)
    task.cancel()
    await eventually_async(lambda: server.backend.running == 0)
    assert server.backend.cancelled == 3


async def test_one_failure_ends_the_others(server: Running, attached: Client) -> None:
    prompts = ["tokens=3 fail=engine_dead at=1", "tokens=500 gap=0.02"]
    with pytest.raises(EngineDeadError, match="as the script says"):
        await asyncio.to_thread(attached.generate, prompts)
    await eventually_async(lambda: server.backend.running == 0)
    with pytest.raises(EngineDeadError, match="as the script says"):
        await attached.generate_async(prompts)
    await eventually_async(lambda: server.backend.running == 0)


async def test_errors_arrive_as_what_they_were(attached: Client) -> None:
    with pytest.raises(OverloadedError, match="8 requests are waiting") as overloaded:
        await attached.generate_async("fail=overloaded")
    assert overloaded.value.retry_after_seconds == 7
    with pytest.raises(TooLongError, match="as the script says"):
        await attached.generate_async("fail=context_length_exceeded")
    with pytest.raises(OutOfMemoryError):
        [piece async for piece in attached.stream_async("tokens=3 fail=out_of_memory at=2")]
    with pytest.raises(InvalidRequestError, match="temperature is -1") as invalid:
        await attached.generate_async("x", temperature=-1.0)
    assert invalid.value.param == "temperature"
    with pytest.raises(UsageError, match=r"stop=\(1,\) for generation: expected a tuple of str"):
        await attached.generate_async("x", stop=[1])
    with pytest.raises(UnknownOptionError, match="did you mean 'max_new_tokens'"):
        await attached.generate_async("x", max_new_token=3)


async def test_a_deadline_ends_the_request_here_and_there(server: Running, attached: Client) -> None:
    with pytest.raises(RequestError, match=r"Deadline Exceeded"):
        await attached.generate_async("tokens=500 gap=0.02", timeout_seconds=0.2)
    await eventually_async(lambda: server.backend.running == 0)


async def test_nobody_there_says_so() -> None:
    with client("127.0.0.1:9") as lonely, pytest.raises(RequestError, match=r"no answer from 127\.0\.0\.1:9"):
        await asyncio.to_thread(lonely.generate, "x")


async def test_a_closed_client_says_so_and_cannot_end_what_it_does_not_own(server: Running) -> None:
    attached = client(f"grpc://{server.grpc}")
    with pytest.raises(UsageError, match="only a deployment of this machine can be ended"):
        attached.terminate()
    attached.close()
    attached.close()
    with pytest.raises(UsageError, match="this client is closed"):
        attached.generate("x")


def test_one_client_serves_one_event_loop_after_another(tmp_path: Path) -> None:
    async def once(found: Client) -> str:
        return (await found.generate_async("tokens=2"))[0].text

    address_file = tmp_path / "address.json"
    server = subprocess.Popen([sys.executable, scripted_backend.__file__, str(address_file)], stderr=subprocess.DEVNULL)
    try:
        eventually(address_file.exists, 60)
        with client(json.loads(address_file.read_text())["grpc"]) as found:
            assert [asyncio.run(once(found)) for _ in range(2)] == ["ab", "ab"]
    finally:
        server.kill()
        server.wait()


@pytest.mark.parametrize("wrong", ["no name", "a/b", "Llama_2:", "host:port", "../../etc"])
def test_what_is_neither_a_name_nor_an_address(wrong: str) -> None:
    with pytest.raises(UsageError, match=r"neither a deployment's name nor HOST:PORT|cannot name a deployment"):
        client(wrong)


def test_a_name_that_does_not_run_says_what_does(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no deployment 'llama' runs on this machine; nothing runs here"):
        client("llama", state_dir=tmp_path)


def test_clients_and_deployments_need_no_torch() -> None:
    code = "import sys, fastgen; fastgen.client, fastgen.serve; print({'torch', 'transformers'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
