"""Thirty seconds of load, a replica killed in the middle, and what came of both."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Sequence
from typing import NamedTuple

import aiohttp
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from demo.deployment import NAME, DemoError, Deployment
from demo.watching import WrittenDown
from fastgen.contract.balancer_metrics import BALANCER_RETRIES
from fastgen.local_state import DeploymentRecord
from fastgen_bench.config import LoadConfig
from fastgen_bench.load import LoadResult, Progress, run_load_async
from fastgen_server.local.numbers import parse_samples, total
from fastgen_server.local.observer import Observer
from fastgen_server.local.view import plain_line, render

POINT_SECONDS = 10.0
STREAMING_CLIENTS = (2, 4, 8)
WHOLE_CLIENTS = 2
"""Clients that want their answers in one piece; not one of their requests may fail."""
VICTIM = "replica-0"
BACK_SECONDS = 90.0
VIEW_SECONDS = 0.5
PLAIN_SECONDS = 5.0
PROMPT_TOKENS, OUTPUT_TOKENS = 128, 32


class LoadReport(NamedTuple):
    """What the load showed."""

    points: Sequence[LoadResult]
    """Streamed answers, one result for each number of clients."""
    whole: LoadResult
    """Answers in one piece, during all of it."""
    retries: int
    seconds_until_back: float


class _Counts:
    """The load generators' own figures, for the line above the view."""

    def __init__(self) -> None:
        self.whole_done = self.whole_failed = 0
        self.streams = "warming up"
        self.news = ""

    def whole(self, progress: Progress) -> None:
        self.whole_done, self.whole_failed = progress.done, progress.failed

    def streaming(self, progress: Progress) -> None:
        elapsed = max(progress.elapsed_seconds, 1e-9)
        self.streams = f"{progress.config.label}: {progress.done / elapsed:.1f} answers/s"

    def line(self, elapsed_seconds: float) -> str:
        text = f"load, {elapsed_seconds:.0f} s: streaming {self.streams}; in one piece: {self.whole_done} answers"
        return f"{text}, {self.whole_failed} failed. {self.news}"


async def load_and_kill(deployment: Deployment, record: DeploymentRecord, console: Console) -> LoadReport:
    """Put load on the deployment and kill a replica half-way. Raises DemoError where a request that was not
    streamed failed, or the replica did not come back."""
    seen = WrittenDown(deployment, record)
    counts = _Counts()
    began = time.monotonic()
    showing = asyncio.create_task(_show(seen, counts, began, console))
    try:
        whole_config = _config(record, stream=False, clients=WHOLE_CLIENTS, seconds=POINT_SECONDS * 3)
        whole = asyncio.create_task(run_load_async(whole_config, counts.whole))
        points = []
        for position, clients in enumerate(STREAMING_CLIENTS):
            config = _config(record, stream=True, clients=clients, seconds=POINT_SECONDS)
            point = asyncio.create_task(run_load_async(config, counts.streaming))
            if position == len(STREAMING_CLIENTS) // 2:
                await asyncio.sleep(POINT_SECONDS / 2)
                killed = _kill(deployment, counts)
            points.append(await point)
        result = LoadReport(points, await whole, await _retries(record), await _back(seen, killed))
        counts.news = f"{VICTIM} is back after {result.seconds_until_back:.0f} s"
        await asyncio.sleep(2 * VIEW_SECONDS)  # The view's last word is that all are well again.
    finally:
        showing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await showing
    _check(result)
    return result


def _config(record: DeploymentRecord, *, stream: bool, clients: int, seconds: float) -> LoadConfig:
    return LoadConfig(
        url=f"http://{record.http}",
        model=NAME,
        stream=stream,
        clients=clients,
        seconds=seconds,
        prompt_tokens=PROMPT_TOKENS,
        output_tokens=OUTPUT_TOKENS,
        ignore_eos=True,
        seed=clients,
        timeout_seconds=60.0,
    )


def _kill(deployment: Deployment, counts: _Counts) -> float:
    pid = deployment.pid_of(VICTIM)
    os.kill(pid, signal.SIGKILL)
    counts.news = f"{VICTIM} (process {pid}) was killed with SIGKILL"
    return time.monotonic()


async def _back(seen: WrittenDown, killed: float) -> float:
    """Seconds from the kill until the replica was ready again."""
    while time.monotonic() - killed < BACK_SECONDS:
        seen.look()
        slot = seen.slots[VICTIM]
        if slot.phase == "ready" and slot.restarts:
            return time.monotonic() - killed
        await asyncio.sleep(0.2)
    raise DemoError(f"{VICTIM} did not come back within {BACK_SECONDS:g} s")


async def _retries(record: DeploymentRecord) -> int:
    async with aiohttp.ClientSession() as session, session.get(f"http://{record.http}/metrics") as answer:
        return int(total(parse_samples(await answer.text()), BALANCER_RETRIES) or 0)


def _check(report: LoadReport) -> None:
    failed = [request for request in report.whole.records if not request.ok]
    if failed:
        raise DemoError(
            f"{len(failed)} of {len(report.whole.records)} requests that were not streamed failed, the first with: "
            f"{failed[0].error}"
        )
    if not report.whole.records:
        raise DemoError("no request that was not streamed ended within the load")


async def _show(seen: WrittenDown, counts: _Counts, began: float, console: Console) -> None:
    """The live view in a terminal; a line now and then elsewhere."""
    observer = Observer(seen)
    looking = asyncio.create_task(observer.run())
    try:
        if not console.is_terminal:
            while True:
                await asyncio.sleep(PLAIN_SECONDS)
                seen.look()
                console.print(f"  {counts.line(time.monotonic() - began)}", soft_wrap=True)
                console.print(f"  {plain_line(observer.snapshot())}", soft_wrap=True)
        with Live(console=console, auto_refresh=False) as live:
            while True:
                seen.look()
                line = Text(counts.line(time.monotonic() - began), style="cyan")
                live.update(Group(line, render(observer.snapshot())), refresh=True)
                await asyncio.sleep(VIEW_SECONDS)
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
