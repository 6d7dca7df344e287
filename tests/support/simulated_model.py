"""A model deployment as Prometheus sees it: a balancer and replicas that work off what arrives, and publish it.

Simulated are the requests; the scrapes, the series and their queries are real.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from aiohttp import web
from real_prometheus import RealPrometheus

from fastgen.contract import balancer_metrics as balancer
from fastgen.contract import labels
from fastgen.contract import metrics as replica
from fastgen.contract.metrics import GENERATION_RATE, MODEL_NAME

REQUEST_TOKENS = 100.0
TICK_SECONDS = 0.05
PATIENCE_SECONDS = 1.0
"""A request that waited longer did not keep its promise."""
START_SECONDS = 3.0


@dataclass
class Pod:
    """One endpoint that publishes numbers."""

    name: str
    numbers: dict[str, float] = field(default_factory=dict)
    address: str = ""
    ready_at_seconds: float = 0.0
    text: str | None = None
    """What it says instead of its numbers."""
    _runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/metrics", self._answer)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.address = "{}:{}".format(*self._runner.addresses[0])

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.Request) -> web.Response:
        numbers = "".join(f"{name} {value:.17g}\n" for name, value in self.numbers.items())
        return web.Response(text=self.text if self.text is not None else numbers)

    def add(self, name: str, amount: float) -> None:
        self.numbers[name] = self.numbers.get(name, 0.0) + amount


def of_model(name: str, **more: str) -> str:
    """A replica's series, as it writes it."""
    pairs = {MODEL_NAME: "llama", **more}
    return name + "{" + ",".join(f'{key}="{value}"' for key, value in pairs.items()) + "}"


def offered(kind: str) -> str:
    return f'{balancer.BALANCER_OFFERED_TOKENS}{{kind="{kind}"}}'


REQUESTS = of_model(replica.REQUESTS.sample)
EFFECTIVE = of_model(replica.EFFECTIVE_REQUESTS.sample, **{GENERATION_RATE: "4"})
SERVED = of_model(replica.SERVED_TOKENS.sample)
OFFERED = of_model(replica.OFFERED_TOKENS.sample)
ARRIVED = f'{balancer.BALANCER_OFFERED_REQUESTS}{{protocol="http"}}'


class SimulatedModel:
    """`each`: tokens per second that a replica does; it says that it measured as many."""

    def __init__(self, prometheus: RealPrometheus, name: str, each: float = 1000.0) -> None:
        self.name, self.each, self._prometheus = name, each, prometheus
        self.requests_per_second = 0.0
        self.balancer = Pod(f"{name}-balancer-0")
        self.replicas: list[Pod] = []
        self.held = 0.0
        """Requests that wait at the balancer, for there is no replica."""
        self._queue: deque[float] = deque()
        self._arriving = self._done = 0.0
        self._sending = 0
        self._count = 0

    @property
    def ready(self) -> list[Pod]:
        now = asyncio.get_running_loop().time()
        return [pod for pod in self.replicas if pod.ready_at_seconds <= now]

    async def set_replicas(self, replicas: int) -> None:
        """As a Deployment would; new ones take START_SECONDS."""
        for pod in self.replicas[replicas:]:
            await pod.stop()
        del self.replicas[replicas:]
        while len(self.replicas) < replicas:
            self._count += 1
            pod = Pod(f"{self.name}-replica-{self._count}")
            pod.ready_at_seconds = asyncio.get_running_loop().time() + START_SECONDS
            for series in (REQUESTS, EFFECTIVE, SERVED, OFFERED):
                pod.add(series, 0.0)
            await pod.start()
            self.replicas.append(pod)
        self._tell_prometheus()

    def _tell_prometheus(self) -> None:
        own = {labels.SERIES_NAMESPACE: "models", labels.SERIES_DEPLOYMENT: self.name}
        pods = [self.balancer, *self.replicas]
        self._prometheus.scrape(self.name, {pod.address: {**own, labels.SERIES_POD: pod.name} for pod in pods})

    async def run(self) -> None:
        """Requests arrive and are worked off, until cancelled."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self._arrive()
            self._work()
            self._publish()

    def _arrive(self) -> None:
        self._arriving += self.requests_per_second * TICK_SECONDS
        while self._arriving >= 1.0:
            self._arriving -= 1.0
            self._queue.append(asyncio.get_running_loop().time())
            self._sending += 1
            self.balancer.add(ARRIVED, 1.0)
            for kind, share in (("prompt", 0.6), ("generation", 0.4)):
                self.balancer.add(offered(kind), share * REQUEST_TOKENS)

    def _work(self) -> None:
        now = asyncio.get_running_loop().time()
        ready = self.ready
        while ready and self._sending:
            # It waits in a replica's queue, and counts there as soon as it arrives.
            ready[self._sending % len(ready)].add(OFFERED, REQUEST_TOKENS)
            self._sending -= 1
        for pod in ready:
            self._done += self.each * TICK_SECONDS
            while self._queue and self._done >= REQUEST_TOKENS:
                self._done -= REQUEST_TOKENS
                came = self._queue.popleft()
                pod.add(REQUESTS, 1.0)
                pod.add(EFFECTIVE, float(now - came <= PATIENCE_SECONDS))
                pod.add(SERVED, REQUEST_TOKENS)
        if not self._queue:
            self._done = 0.0

    def _publish(self) -> None:
        ready = self.ready
        self.held = 0.0 if ready else float(len(self._queue))
        self.balancer.numbers[balancer.BALANCER_HELD_REQUESTS] = self.held
        for pod in self.replicas:
            pod.numbers[of_model(replica.READY.sample)] = float(pod in ready)
            pod.numbers[of_model(replica.CAPACITY.sample)] = self.each
            pod.numbers[of_model(replica.KV_CACHE_USAGE.sample)] = 0.1
            pod.numbers[of_model(replica.NUM_REQUESTS_WAITING.sample)] = 0.0
            waiting = len(self._queue) * REQUEST_TOKENS / len(ready) if pod in ready else 0.0
            pod.numbers[of_model(replica.WAITING_TOKENS.sample)] = waiting


@contextlib.asynccontextmanager
async def simulated_model(
    prometheus: RealPrometheus, name: str, replicas: int = 1, requests_per_second: float = 0.0
) -> AsyncIterator[SimulatedModel]:
    """At work, with its replicas ready at once, until the end of the test."""
    made = SimulatedModel(prometheus, name)
    made.requests_per_second = requests_per_second
    for kind in ("prompt", "generation"):
        made.balancer.add(offered(kind), 0.0)
    await made.balancer.start()
    await made.set_replicas(replicas)
    for pod in made.replicas:
        pod.ready_at_seconds = 0.0
    working = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        prometheus.scrape(name, {})
        for pod in (made.balancer, *made.replicas):
            await pod.stop()
