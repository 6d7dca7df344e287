"""Asks the processes of a deployment how they are, once a second, and makes a snapshot for the view."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import aiohttp

from fastgen.contract import balancer_metrics, metrics
from fastgen.local_state import DeploymentState
from fastgen_server.local.decisions import Phase, Slot
from fastgen_server.local.numbers import (
    EFFECTIVE_WINDOW_SECONDS,
    RATE_WINDOW_SECONDS,
    Samples,
    Totals,
    parse_samples,
    total,
)
from fastgen_server.local.processes import Addresses

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 1.0
TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True)
class ProcessNumbers:
    """One row of the view. None where the process has not said."""

    name: str
    phase: Phase
    pid: int | None
    address: str
    restarts: int
    seconds_to_start: float
    running: float | None = None
    waiting: float | None = None
    kv_use: float | None = None
    step_fill: float | None = None
    """Mean tokens of the last seconds' steps against the token budget; None while no step ran."""
    token_budget: float | None = None
    tokens_per_second: float | None = None


@dataclass(frozen=True)
class EffectiveRatio:
    """Of the requests that ended lately, how many kept the promise of this generation rate."""

    generation_rate: str
    lately: float | None
    since_start: float | None


@dataclass(frozen=True)
class Snapshot:
    """What the view shows."""

    name: str
    model: str
    state: DeploymentState
    http: str
    grpc: str
    replicas: tuple[ProcessNumbers, ...]
    balancer: ProcessNumbers
    requests: int
    requests_per_second: float
    tokens_per_second: float
    retries: int
    held: int
    effective: tuple[EffectiveRatio, ...]


class Observed(Protocol):
    """What is looked at: a `Supervisor`, or what one wrote down about a deployment that is not ours."""

    @property
    def name(self) -> str: ...

    @property
    def model(self) -> str: ...

    @property
    def state(self) -> DeploymentState: ...

    @property
    def slots(self) -> Mapping[str, Slot]: ...

    @property
    def addresses(self) -> Mapping[str, Addresses]: ...

    def heard_from(self, name: str) -> None: ...


class Observer:
    """Feeds on /metrics; tells the supervisor who answered."""

    def __init__(self, supervisor: Observed) -> None:
        self._supervisor = supervisor
        self._latest: dict[str, Samples] = {}
        self._totals = Totals()

    async def run(self) -> None:
        """Look once a second until cancelled."""
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                try:
                    await self.look(session)
                except Exception:  # a bug in what only watches must not end what serves
                    log.exception("the numbers could not be read")
                await asyncio.sleep(INTERVAL_SECONDS)

    async def look(self, session: aiohttp.ClientSession) -> None:
        """Ask everyone once."""
        addresses = dict(self._supervisor.addresses)
        for name in self._latest.keys() - addresses.keys():
            del self._latest[name]
        await asyncio.gather(*(self._ask(session, name, found.http) for name, found in addresses.items()))
        self._totals.mark(time.monotonic())

    async def _ask(self, session: aiohttp.ClientSession, name: str, address: str) -> None:
        pid = self._supervisor.slots[name].pid
        try:
            async with session.get(f"http://{address}/metrics") as answer:
                text = await answer.text()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return
        if pid is None or self._supervisor.slots[name].pid != pid:
            return
        self._supervisor.heard_from(name)
        samples = parse_samples(text)
        self._latest[name] = samples
        self._totals.add(name, pid, samples)

    def snapshot(self) -> Snapshot:
        """The numbers now."""
        supervisor, totals = self._supervisor, self._totals
        slots = supervisor.slots
        balancer = supervisor.addresses.get("balancer")
        offered = balancer_metrics.BALANCER_OFFERED_REQUESTS
        return Snapshot(
            name=supervisor.name,
            model=supervisor.model,
            state=supervisor.state,
            http=balancer.http if balancer else "",
            grpc=balancer.grpc if balancer else "",
            replicas=tuple(self._row(slot) for slot in slots.values() if slot.role == "replica"),
            balancer=self._row(slots["balancer"]),
            requests=int(totals.count(offered)),
            requests_per_second=totals.rate(offered),
            tokens_per_second=totals.rate(metrics.GENERATION_TOKENS.sample),
            retries=int(totals.count(balancer_metrics.BALANCER_RETRIES)),
            held=int(total(self._latest.get("balancer", {}), balancer_metrics.BALANCER_HELD_REQUESTS) or 0),
            effective=self._effective(),
        )

    def _row(self, slot: Slot) -> ProcessNumbers:
        found = self._supervisor.addresses.get(slot.name)
        samples = self._latest.get(slot.name, {})
        filled, _ = self._totals.gain(metrics.STEP_FILL.name + "_sum", RATE_WINDOW_SECONDS, slot.name)
        steps, _ = self._totals.gain(metrics.STEP_FILL.name + "_count", RATE_WINDOW_SECONDS, slot.name)
        return ProcessNumbers(
            name=slot.name,
            phase=slot.phase,
            pid=slot.pid,
            address=found.http if found else "",
            restarts=slot.restarts,
            seconds_to_start=max(0.0, slot.start_at - time.monotonic()) if slot.phase == "waiting" else 0.0,
            running=total(samples, metrics.NUM_REQUESTS_RUNNING.sample),
            waiting=total(samples, metrics.NUM_REQUESTS_WAITING.sample),
            kv_use=total(samples, metrics.KV_CACHE_USAGE.sample),
            step_fill=filled / steps if steps else None,
            token_budget=total(samples, metrics.TOKEN_BUDGET.sample),
            tokens_per_second=self._totals.rate(metrics.SERVED_TOKENS.sample, slot.name) if samples else None,
        )

    def _effective(self) -> tuple[EffectiveRatio, ...]:
        kept, ended = metrics.EFFECTIVE_REQUESTS.sample, metrics.REQUESTS.sample
        ended_lately, _ = self._totals.gain(ended, EFFECTIVE_WINDOW_SECONDS)
        ended_ever = self._totals.count(ended)
        ratios = []
        for rate in sorted(self._totals.values_of(kept, metrics.GENERATION_RATE), key=float):
            wanted = {metrics.GENERATION_RATE: rate}
            lately, _ = self._totals.gain(kept, EFFECTIVE_WINDOW_SECONDS, **wanted)
            ever = self._totals.count(kept, **wanted)
            ratios.append(
                EffectiveRatio(
                    rate,
                    lately / ended_lately if ended_lately else None,
                    ever / ended_ever if ended_ever else None,
                )
            )
        return tuple(ratios)
