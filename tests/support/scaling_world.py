"""A cluster as the scaler knows it, all of it in memory, and a server that answers as Prometheus does."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer
from live_objects import live
from prometheus_client import CollectorRegistry

from fastgen.contract import FastGenDeployment
from fastgen.contract.status import FastGenDeploymentStatus
from fastgen_operator.autoscaler import Decision, Workload
from fastgen_operator.autoscaler.signals import SIGNAL
from fastgen_operator.key import Key
from fastgen_operator.scaling import Scaler, ScalingMetrics

EACH = 1000.0
"""Tokens per second that one replica measured."""


class Prometheus:
    """Answers each deployment's question with its numbers: those of `quiet`, and what a test puts on top."""

    def __init__(self) -> None:
        self.url = ""
        self.numbers: dict[str, dict[str, float]] = {}
        self.asked: list[str] = []
        self.hangs: set[str] = set()
        self.is_broken = False
        self._go_on = asyncio.Event()

    def release(self) -> None:
        """What hangs goes on, and nothing hangs any more."""
        self.hangs.clear()
        self._go_on.set()

    async def answer(self, request: web.Request) -> web.Response:
        query = str((await request.post())["query"])
        found = re.search(r'fastgen_dev_deployment="([^"]+)"', query)
        assert found is not None
        self.asked.append(found[1])
        if found[1] in self.hangs:
            await self._go_on.wait()
        if self.is_broken:
            return web.Response(status=503)
        result = [
            {"metric": {SIGNAL: signal}, "value": [time.time(), str(value)]}
            for signal, value in {**quiet(), **self.numbers.get(found[1], {})}.items()
        ]
        return web.json_response({"status": "success", "data": {"resultType": "vector", "result": result}})

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Prometheus]:
        app = web.Application()
        app.router.add_post("/api/v1/query", self.answer)
        async with TestServer(app, host="127.0.0.1") as server:
            self.url = str(server.make_url("/")).rstrip("/")
            yield self


def quiet() -> dict[str, float]:
    """One replica at half its load, promises kept."""
    return {
        "offered_tokens_per_second": EACH / 2, "calibration": 1.0, "tokens_per_request": 500.0, "held_requests": 0.0,
        "waiting_requests": 0.0, "waiting_tokens": 0.0, "served_tokens_per_second": EACH / 2, "requests": 100.0,
        "effective_requests": 100.0, "measured_tokens_per_second": EACH, "kv_usage": 0.1, "balancers_seen": 1.0,
        "replicas_seen": 25.0, "age_seconds": 1.0,
    }  # fmt: skip


@dataclass
class World:
    """What the operator knows (DeploymentsView), and what the scaler did to it."""

    prometheus: Prometheus
    deployments: dict[Key, FastGenDeployment] = field(default_factory=dict)
    statuses: dict[Key, FastGenDeploymentStatus] = field(default_factory=dict)
    writes: list[tuple[str, int]] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    """What the next writes end with."""
    said: list[tuple[str, Decision, int]] = field(default_factory=list)
    woken: list[Key] = field(default_factory=list)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def add(self, name: str = "llama", replicas: int = 1, *, suspend: bool = False, **autoscaling: Any) -> Key:
        """A deployment that scales between 1 and 8, or the same one with another spec."""
        given = {"minReplicas": 1, "maxReplicas": 8, "prometheus": {"url": self.prometheus.url}, **autoscaling}
        found = live(replicas=replicas, suspend=suspend, autoscaling=given)
        key = Key("models", name)
        self.deployments[key] = found.model_copy(
            update={"metadata": found.metadata.model_copy(update={"name": name, "namespace": "models"})}
        )
        return key

    def keys(self) -> Iterable[Key]:
        return list(self.deployments)

    def deployment(self, key: Key) -> FastGenDeployment | None:
        return self.deployments.get(key)

    def status(self, key: Key) -> FastGenDeploymentStatus | None:
        return self.statuses.get(key)

    def workload(self, key: Key) -> Workload:
        replicas = self.deployments[key].spec.replicas if key in self.deployments else 0
        return Workload(replicas, ready=replicas, late=0, balancers=1)

    async def write_scale(self, key: Key, replicas: int) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.writes.append((key.name, replicas))
        self.set_replicas(key, replicas)

    def set_replicas(self, key: Key, replicas: int) -> None:
        before = self.deployments[key]
        self.deployments[key] = before.model_copy(
            update={"spec": before.spec.model_copy(update={"replicas": replicas})}
        )

    async def announce(self, key: Key, decision: Decision, previous: int) -> None:
        self.said.append((key.name, decision, previous))

    @asynccontextmanager
    async def scaled(self, interval_seconds: float = 0.05) -> AsyncIterator[Scaler]:
        """The scaler at work."""
        scaler = Scaler(
            self, self.write_scale, self.announce, self.woken.append, ScalingMetrics(self.registry),
            interval_seconds=interval_seconds,
        )  # fmt: skip
        running = asyncio.create_task(scaler.run())
        try:
            yield scaler
            assert not running.done(), running
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    def metric(self, name: str, **labels: str) -> float | None:
        """One sample of a deployment's."""
        own = {"namespace": "models", "name": "llama"}
        return self.registry.get_sample_value(f"fastgen_operator_scaling_{name}", own | labels)
