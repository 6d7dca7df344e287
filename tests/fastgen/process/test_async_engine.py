"""A real worker process, real signals."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
import pytest_asyncio
from waiting import eventually, eventually_async

from fastgen.config import EngineConfig
from fastgen.core.sampling_params import SamplingParams
from fastgen.errors import (
    EngineDeadError,
    InvalidRequestError,
    ModelError,
    OverloadedError,
    ShuttingDownError,
    TooLongError,
    UsageError,
)
from fastgen.process.async_engine import AsyncEngine
from fastgen.text.stream import TextDelta

pytestmark = pytest.mark.asyncio(loop_scope="module")
LONG = SamplingParams(max_new_tokens=1500, ignore_eos=True, temperature=0)


def config(folder: Path) -> EngineConfig:
    return EngineConfig(
        model=str(folder),
        device="cpu",
        dtype="float32",
        linear="plain",
        kv_bytes=4 * 2**20,
        token_budget=64,
        max_queued_requests=64,
        load_progress=False,
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(tiny_llama: Path) -> AsyncIterator[AsyncEngine]:
    async with await AsyncEngine.start(config(tiny_llama)) as started:
        yield started


async def collect(engine: AsyncEngine, text: str, params: SamplingParams) -> list[TextDelta]:
    return [delta async for delta in engine.generate(engine.tokenizer.encode(text), params)]


def answer(deltas: list[TextDelta], index: int = 0) -> tuple[str, tuple[int, ...]]:
    mine = [delta for delta in deltas if delta.index == index]
    return "".join(d.text for d in mine), tuple(token for d in mine for token in d.token_ids)


def exists(pid: int) -> bool:
    """Running; a zombie has died."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    except FileNotFoundError:
        return False


async def is_idle(engine: AsyncEngine) -> None:
    await eventually_async(lambda: engine.stats is not None and engine.stats.kv_used_blocks == 0)


async def test_an_answer_is_whole_and_ends_once(engine: AsyncEngine) -> None:
    deltas = await collect(
        engine, "What is a block?", SamplingParams(max_new_tokens=20, temperature=0, ignore_eos=True)
    )
    text, tokens = answer(deltas)
    prompt = engine.tokenizer.encode("What is a block?")
    assert engine.tokenizer.decode(prompt) + text == engine.tokenizer.decode([*prompt, *tokens])
    assert len(tokens) == 20
    assert [d.finish_reason for d in deltas] == [None] * 19 + ["length"]
    assert deltas[-1].timing is not None
    assert 0 <= deltas[-1].timing.first_token_seconds <= deltas[-1].timing.total_seconds


async def test_choice_i_is_what_seed_plus_i_gives_alone(engine: AsyncEngine) -> None:
    def params(seed: int, n: int = 1) -> SamplingParams:
        return SamplingParams(max_new_tokens=12, seed=seed, n=n, ignore_eos=True)

    together = await collect(engine, "The token budget", params(40, n=3))
    alone = [await collect(engine, "The token budget", params(40 + index)) for index in range(3)]
    assert [answer(together, index) for index in range(3)] == [answer(deltas) for deltas in alone]
    assert len({answer(together, index) for index in range(3)}) == 3


async def test_a_stop_string_ends_answer_and_sequence(engine: AsyncEngine) -> None:
    whole, _ = answer(await collect(engine, "Emoji too:", SamplingParams(max_new_tokens=60, temperature=0)))
    stop = whole[len(whole) // 3 :][:3]
    deltas = await collect(engine, "Emoji too:", SamplingParams(max_new_tokens=1500, temperature=0, stop=(stop,)))
    text, tokens = answer(deltas)
    assert text == whole[: whole.index(stop)]
    assert len(tokens) < 60
    assert deltas[-1].finish_reason == "stop"
    assert deltas[-1].timing is not None
    await is_idle(engine)


@pytest.mark.parametrize(
    ("prompt", "params", "kind", "words"),
    [
        ([], LONG, InvalidRequestError, "empty"),
        ([1] * 2048, SamplingParams(max_new_tokens=1), TooLongError, "2048"),
        ([1, 99999], LONG, InvalidRequestError, "vocabulary"),
        ([1], SamplingParams(n=100, max_new_tokens=200), OverloadedError, "max_queued_requests=64"),
    ],
    ids=["empty", "too long", "unknown token", "overloaded"],
)
async def test_a_request_that_cannot_be_served_says_why(
    engine: AsyncEngine, prompt: list[int], params: SamplingParams, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        await anext(engine.generate(prompt, params))
    await is_idle(engine)


async def test_leaving_early_frees_the_blocks(engine: AsyncEngine) -> None:
    used: list[int] = []
    engine.on_stats(lambda stats: used.append(stats.kv_used_blocks))
    async with aclosing(engine.generate([1, 5, 9], LONG)) as deltas:
        async for _ in deltas:
            break
        assert used[-1] > 0
    await is_idle(engine)
    waiting = asyncio.create_task(collect(engine, "x", LONG))
    await eventually_async(lambda: used[-1] > 0)
    waiting.cancel()
    await is_idle(engine)


async def test_many_at_once_some_of_whom_leave(engine: AsyncEngine) -> None:
    """Everybody who stays gets a whole answer; Ctrl-C in the terminal does not reach the worker."""
    dice = random.Random(7)
    assert engine.worker_pid is not None

    async def client(number: int) -> None:
        wanted = dice.randint(1, 40)
        leaves = dice.randint(1, 40) if number % 3 == 0 else 100
        params = SamplingParams(max_new_tokens=wanted, seed=number, ignore_eos=True, n=1 + number % 2)
        counts = [0] * params.n
        async with aclosing(engine.generate([1] * dice.randint(1, 90), params)) as deltas:
            async for delta in deltas:
                counts[delta.index] += len(delta.token_ids)
                if sum(counts) >= leaves:
                    return
        assert counts == [wanted] * params.n

    clients = asyncio.gather(*(client(number) for number in range(40)))
    os.kill(engine.worker_pid, signal.SIGINT)
    await clients
    await is_idle(engine)


async def test_an_idle_worker_sleeps(engine: AsyncEngine) -> None:
    def cpu_ticks() -> int:
        fields = Path(f"/proc/{engine.worker_pid}/stat").read_text().rsplit(") ", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    await is_idle(engine)
    before = cpu_ticks()
    await asyncio.sleep(0.5)  # The measured time itself, not a wait for something.
    assert cpu_ticks() - before <= 2


async def test_closing_tells_those_who_wait_and_leaves_no_process(tiny_llama: Path) -> None:
    engine = await AsyncEngine.start(config(tiny_llama))
    pid = engine.worker_pid
    assert pid is not None
    waiting = asyncio.create_task(collect(engine, "x", LONG))
    await eventually_async(lambda: engine.stats is not None)
    await engine.close()
    await engine.close()
    with pytest.raises(ShuttingDownError):
        await waiting
    assert not exists(pid)
    with pytest.raises(ShuttingDownError):
        await anext(engine.generate([1], LONG))


@pytest.mark.slow
async def test_a_killed_worker_fails_everybody_and_is_replaced(tiny_llama: Path) -> None:
    async with await AsyncEngine.start(config(tiny_llama)) as engine:
        first_pid = engine.worker_pid
        assert first_pid is not None
        running = [asyncio.create_task(collect(engine, "x" * i, LONG)) for i in range(1, 6)]
        await eventually_async(lambda: engine.stats is not None and engine.stats.num_running == 5)
        os.kill(first_pid, signal.SIGKILL)
        outcomes = await asyncio.wait_for(asyncio.gather(*running, return_exceptions=True), 5)
        assert [type(outcome) for outcome in outcomes] == [EngineDeadError] * 5
        assert not engine.alive
        with pytest.raises(EngineDeadError, match="restarted"):
            await anext(engine.generate([1], LONG))
        await eventually_async(lambda: engine.alive, 90)
        assert engine.restarts == 1
        assert engine.worker_pid != first_pid
        deltas = await collect(engine, "again", SamplingParams(max_new_tokens=3, ignore_eos=True))
        assert deltas[-1].finish_reason == "length"


@pytest.mark.slow
async def test_a_killed_parent_leaves_no_worker(tiny_llama: Path) -> None:
    script = f"""
import asyncio
from fastgen.config import EngineConfig
from fastgen.core.sampling_params import SamplingParams
from fastgen.process.async_engine import AsyncEngine
async def main():
    engine = await AsyncEngine.start({config(tiny_llama)!r})
    async for delta in engine.generate([1, 2], SamplingParams(max_new_tokens=2000, ignore_eos=True)):
        print(engine.worker_pid, flush=True)
asyncio.run(main())
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    parent = await asyncio.to_thread(
        subprocess.Popen, [sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment
    )
    assert parent.stdout is not None
    with parent, parent.stdout:
        pid = int(await asyncio.to_thread(parent.stdout.readline))
        assert exists(pid)
        parent.kill()
    await asyncio.to_thread(eventually, lambda: not exists(pid))


@pytest.mark.slow
async def test_an_engine_that_cannot_start_says_what_the_engine_said(tiny_llama: Path, tmp_path: Path) -> None:
    tiny = EngineConfig(model=str(tiny_llama), device="cpu", dtype="float32", kv_bytes=1, load_progress=False)
    with pytest.raises(UsageError, match="kv_bytes"):
        await AsyncEngine.start(tiny)
    with pytest.raises(ModelError, match="tokenizer"):
        await AsyncEngine.start(EngineConfig(model=str(tmp_path)))
