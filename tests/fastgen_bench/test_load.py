"""The load generator against a real server whose delays are known."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest
from steady_server import SteadyServer

from fastgen.errors import UsageError
from fastgen_bench.config import LoadConfig
from fastgen_bench.load import Progress, run_load_async
from fastgen_bench.metrics import summarize_load
from fastgen_bench.openai_client import ServerUnreachableError, api_root


def workload(url: str, **more: object) -> LoadConfig:
    values = {"url": url, "prompt_tokens": 200, "output_tokens": 8, "sigma": 0.0, "warmup": 1, **more}
    return LoadConfig(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize("api", ["completions", "chat"])
async def test_closed_loop_measures_what_the_server_does(steady: SteadyServer, api: str) -> None:
    result = await run_load_async(workload(steady.url, clients=4, requests=16, api=api))
    point = summarize_load(result)
    assert (point["completed"], point["failed"], point["num_prompts"]) == (16, 0, 16)
    assert point["model_id"] == "steady"
    assert point["max_concurrent_requests"] == 4
    assert point["median_ttft_ms"] == pytest.approx(50, abs=25)
    assert point["median_itl_ms"] == pytest.approx(20, abs=6)
    assert point["mean_itl_ms"] == pytest.approx(20, abs=6)
    assert point["median_e2el_ms"] == pytest.approx(50 + 7 * 20, abs=50)
    assert point["median_tpot_ms"] == pytest.approx(20, abs=6)
    assert point["total_output_tokens"] == 16 * 8
    assert point["mii_throughput"] == pytest.approx(4 / (point["mean_e2el_ms"] / 1000))
    assert point["effective_share"] == {"2": 1.0, "4": 1.0, "6": 1.0}
    assert point["interrupted"] is False


async def test_prompts_come_out_as_long_as_wanted(steady: SteadyServer) -> None:
    """This server counts two tokens a word; nobody told the generator."""
    result = await run_load_async(workload(steady.url, requests=8, prompt_tokens=100, sigma=0.3, clients=8))
    counted = [record.prompt_tokens for record in result.records]
    drawn = np.random.default_rng((42, 0)).normal(100, 30, 256)[:8]
    assert counted == pytest.approx(list(drawn), abs=2)


async def test_a_slow_server_is_not_effective_at_the_rates_it_misses(steady: SteadyServer) -> None:
    steady.gap_seconds = 0.2  # 5 tokens a second
    point = summarize_load(await run_load_async(workload(steady.url, clients=4, requests=4, output_tokens=4)))
    assert point["effective_share"] == {"2": 1.0, "4": 1.0, "6": 0.0}
    late_first = workload(steady.url, clients=2, requests=2, output_tokens=2, promise_prompt_tokens_per_second=1e5)
    assert summarize_load(await run_load_async(late_first))["effective_share"]["2"] == 0.0


async def test_pieces_of_several_tokens_are_counted_by_the_servers_usage(steady: SteadyServer) -> None:
    steady.tokens_per_piece = 4
    result = await run_load_async(workload(steady.url, requests=2))
    assert [record.chunk_tokens for record in result.records] == [[4, 4], [4, 4]]
    assert [record.completion_tokens for record in result.records] == [8, 8]


async def test_open_loop_does_not_wait_for_answers(steady: SteadyServer) -> None:
    """20 arrivals a second to a server that takes 0.19 s each: a closed loop of one would manage five."""
    result = await run_load_async(workload(steady.url, rate=20.0, seconds=1.5))
    point = summarize_load(result)
    due = [record.due_seconds for record in result.records]
    assert due == sorted(due)
    assert max(due) < 1.5
    assert point["completed"] == len(due) > 15
    assert point["max_concurrent_requests"] > 1
    assert point["request_rate"] == 20.0
    assert point["mii_throughput"] is None
    assert point["p99_send_delay_ms"] < 100
    assert point["median_e2el_ms"] == pytest.approx(190, abs=50)


async def test_open_loop_counts_from_when_a_request_was_due(steady: SteadyServer) -> None:
    """The generator's own loop stalls for 0.4 s; the requests due meanwhile are charged with the wait."""
    stalled = False

    def stall(_: object) -> None:
        nonlocal stalled
        if not stalled:
            stalled = True
            time.sleep(0.4)

    result = await run_load_async(workload(steady.url, rate=40.0, seconds=1.0, output_tokens=1), stall)
    delays = [record.send_delay_seconds for record in result.records]
    assert max(delays) > 0.3
    worst = max(result.records, key=lambda record: record.send_delay_seconds)
    assert worst.first_token_seconds is not None
    assert worst.first_token_seconds > worst.send_delay_seconds
    assert result.generator.p99_lag_seconds > 0.05
    assert "short of CPU" in str(result.generator.warning)


async def test_without_streaming(steady: SteadyServer) -> None:
    point = summarize_load(await run_load_async(workload(steady.url, stream=False, clients=2, requests=4)))
    assert point["completed"] == 4
    assert point["median_e2el_ms"] == pytest.approx(190, abs=50)
    assert point["median_ttft_ms"] is None
    assert point["effective_throughput"]["4"] is None


async def test_failures_are_recorded_and_not_effective(steady: SteadyServer) -> None:
    first_measured = 3  # two sizing requests and one warm-up come before
    steady.fail = lambda number: number >= first_measured and number % 2 == 1
    point = summarize_load(await run_load_async(workload(steady.url, requests=8)))
    assert (point["completed"], point["failed"]) == (4, 4)
    assert point["errors_by_kind"] == {"HTTP 503: queue full": 4}
    assert point["effective_share"]["2"] == 0.5


async def test_a_stream_that_breaks_off_has_failed(steady: SteadyServer) -> None:
    steady.break_off = True
    point = summarize_load(await run_load_async(workload(steady.url, requests=2, warmup=0)))
    assert point["failed"] == 2


async def test_a_request_that_takes_too_long_has_failed(steady: SteadyServer) -> None:
    steady.first_seconds = 30.0
    config = workload(steady.url, requests=1, warmup=0, timeout_seconds=0.3)
    with pytest.raises(ServerUnreachableError, match="timed out"):
        await run_load_async(config)


async def test_stopping_early_keeps_what_was_measured(steady: SteadyServer) -> None:
    stop = asyncio.Event()

    def stop_after_four(progress: Progress) -> None:
        if progress.done >= 4:
            stop.set()

    result = await run_load_async(workload(steady.url, clients=2, requests=1000), stop_after_four, stop)
    assert result.interrupted
    assert 4 <= len(result.records) <= 6
    assert 1 <= result.abandoned <= 2


async def test_seconds_end_a_closed_loop(steady: SteadyServer) -> None:
    result = await run_load_async(workload(steady.url, clients=2, seconds=0.5, output_tokens=2))
    assert 6 <= len(result.records) <= 18
    assert max(record.sent_seconds for record in result.records) < 0.5


async def test_what_is_sent(steady: SteadyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "secret")
    config = workload(steady.url, requests=1, ignore_eos=True, temperature=0.5, api_key_variable="MY_KEY")
    await run_load_async(config)
    sent = steady.seen[-1]
    assert sent["ignore_eos"] is True
    assert sent["temperature"] == 0.5
    assert sent["max_tokens"] == 8
    assert sent["stream_options"] == {"include_usage": True}
    assert steady.headers[-1]["Authorization"] == "Bearer secret"
    await run_load_async(workload(steady.url, requests=1))
    assert "ignore_eos" not in steady.seen[-1]


async def test_no_server_is_said_plainly(unused_tcp_port: int) -> None:
    with pytest.raises(ServerUnreachableError, match=f"no server answers at http://127.0.0.1:{unused_tcp_port}/v1"):
        await run_load_async(workload(f"http://127.0.0.1:{unused_tcp_port}", requests=1))


async def test_a_server_that_refuses_everything_is_said_plainly(steady: SteadyServer) -> None:
    steady.fail = lambda number: True
    with pytest.raises(ServerUnreachableError, match="queue full"):
        await run_load_async(workload(steady.url, requests=1))


@pytest.mark.parametrize(
    ("given", "root"),
    [
        ("http://h:1", "http://h:1/v1"),
        ("http://h:1/", "http://h:1/v1"),
        ("http://h:1/v1", "http://h:1/v1"),
        ("https://h/v1/", "https://h/v1"),
        ("h:80", "http://h:80/v1"),
        ("http://h/tenant/a", "http://h/tenant/a/v1"),
    ],
)
def test_addresses(given: str, root: str) -> None:
    assert api_root(given) == root


def test_an_address_that_is_none() -> None:
    with pytest.raises(UsageError, match="write it as"):
        api_root("ftp://h")
