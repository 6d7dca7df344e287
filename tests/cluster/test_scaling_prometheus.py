"""How the number of replicas follows what a real Prometheus says, and what it does when Prometheus says nothing, or
nonsense. The replicas are simulated; their series, scrapes and queries are not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from real_prometheus import RealPrometheus, real_prometheus
from scaling_world import World
from simulated_model import SimulatedModel, of_model, offered, simulated_model
from waiting import eventually_async

from fastgen.contract import balancer_metrics as balancer
from fastgen.contract import metrics as replica
from fastgen_operator.autoscaler import Decision, Workload
from fastgen_operator.key import Key
from fastgen_operator.scaling import Scaler

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
QUICK: dict[str, Any] = {
    "windowSeconds": 20,
    "behavior": {"scaleDown": {"stabilizationWindowSeconds": 5}},
}
INTERVAL_SECONDS = 1.0


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealPrometheus]:
    with real_prometheus(tmp_path_factory.mktemp("prometheus")) as found:
        yield found


class Scene(World):
    """One simulated model under the autoscaler. `scale` starts and stops its replicas."""

    model: SimulatedModel
    scaler: Scaler

    def workload(self, key: Key) -> Workload:
        replicas = self.deployments[key].spec.replicas
        return Workload(replicas, ready=len(self.model.ready), late=0, balancers=1)

    async def write_scale(self, key: Key, replicas: int) -> None:
        await super().write_scale(key, replicas)
        await self.model.set_replicas(replicas)

    @property
    def replicas(self) -> int:
        return self.deployments[Key("models", self.model.name)].spec.replicas

    @property
    def decision(self) -> Decision | None:
        return self.scaler.decision(Key("models", self.model.name))

    async def until(self, what: Callable[[Scene], object], seconds: float) -> None:
        """`what` within `seconds`, or what was decided instead."""
        try:
            await eventually_async(lambda: what(self), seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; {self.replicas} replicas, {self.decision}, {self.said}") from None

    def reasons(self) -> list[tuple[int, str]]:
        """What was done, and why."""
        return [(decision.replicas, decision.reason) for _, decision, _ in self.said]


@asynccontextmanager
async def scene(
    prometheus: RealPrometheus,
    name: str,
    replicas: int = 1,
    requests_per_second: float = 0.0,
    url: str | None = None,
    **autoscaling: Any,
) -> AsyncIterator[Scene]:
    """Under way, and seen."""
    found = Scene(prometheus)  # type: ignore[arg-type]  # only its address is used
    async with simulated_model(prometheus, name, replicas, requests_per_second) as found.model:
        given = {**QUICK, **autoscaling}
        if url is not None:
            given["prometheus"] = {"url": url}
        found.add(name, replicas, **given)
        async with found.scaled(INTERVAL_SECONDS) as found.scaler:
            yield found


def informed(found: Scene) -> bool:
    return found.decision is not None and found.decision.is_informed


def blind(found: Scene, reason: str) -> bool:
    return found.decision is not None and found.decision.reason == reason


async def test_it_goes_up_under_load_and_down_after_it(prometheus: RealPrometheus) -> None:
    async with scene(prometheus, "follows", requests_per_second=4) as found:
        await found.until(informed, 15)
        found.model.requests_per_second = 24  # 2400 tokens/s need 2.4 replicas, and 2.8 to have them loaded to 85 %.
        await found.until(lambda it: it.replicas >= 3, 20)
        await found.until(lambda it: len(it.model.ready) >= 3, 10)
        assert {reason for _, reason in found.reasons()} <= {"DemandAboveCapacity", "AttainmentBelowTarget"}
        assert "DemandAboveCapacity" in {reason for _, reason in found.reasons()}
        most = found.replicas
        found.model.requests_per_second = 4
        await found.until(lambda it: it.reasons()[-1] == (1, "DemandFitsFewer"), 60)
        numbers = found.said[-1][1].numbers
        assert numbers.attainment is None or numbers.attainment >= 0.99
        assert most <= 5, found.reasons()


async def test_to_zero_and_from_zero(prometheus: RealPrometheus) -> None:
    async with scene(prometheus, "sleeps", minReplicas=0) as found:
        await found.until(informed, 15)
        await found.until(lambda it: it.reasons() == [(0, "Idle")], 40)
        await asyncio.sleep(3 * INTERVAL_SECONDS)
        assert found.replicas == 0
        found.model.requests_per_second = 1
        began = time.monotonic()
        await found.until(lambda it: it.reasons()[-1] == (1, "WakeFromZero"), 10)
        took = time.monotonic() - began
        found.model.requests_per_second = 0
        # A second until the request comes, one until the next scrape, one until the next look; and some work.
        assert took < 1 + 1 + INTERVAL_SECONDS + 2
        await found.until(lambda it: it.model.held == 0 and len(it.model.ready) == 1, 10)


async def test_advisory_computes_and_writes_nothing(prometheus: RealPrometheus) -> None:
    async with scene(prometheus, "advised", requests_per_second=24, mode="Advisory") as found:
        await found.until(lambda it: it.decision is not None and it.decision.replicas >= 3, 30)
        assert (found.writes, found.replicas) == ([], 1)


async def test_a_prometheus_that_is_away_or_silent_is_waited_for(prometheus: RealPrometheus) -> None:
    async with scene(prometheus, "waits", 4, requests_per_second=4) as found:
        await found.until(informed, 15)
        prometheus.freeze(True)
        try:
            await found.until(lambda it: blind(it, "PrometheusUnavailable"), 15)
            assert found.decision is not None
            assert "did not answer within" in found.decision.message
        finally:
            prometheus.freeze(False)
        await found.until(informed, 15)
        prometheus.stop()
        await found.until(lambda it: blind(it, "PrometheusUnavailable"), 15)
        held = found.replicas
        # Long after every window, and with load that would need twice as many.
        found.model.requests_per_second = 200
        await asyncio.sleep(6)
        assert found.replicas == held
        prometheus.start()
        await found.until(informed, 30)
        await found.until(lambda it: it.replicas == 8, 30)


async def test_pods_that_are_not_scraped_any_more_are_not_idle(prometheus: RealPrometheus) -> None:
    async with scene(prometheus, "unseen", 3, requests_per_second=15) as found:
        await found.until(informed, 15)
        for pod in (found.model.balancer, *found.model.replicas):
            await pod.stop()
        await found.until(lambda it: blind(it, "MetricsMissing"), 10)
        await asyncio.sleep(12)  # Longer than the stabilization window; and the rates end, as nothing is left in them.
        assert (found.replicas, found.writes) == (3, [])
        assert blind(found, "MetricsMissing")


LIES = {
    "no number": f"{balancer.BALANCER_HELD_REQUESTS} NaN\n",
    "less than nothing": f"{balancer.BALANCER_HELD_REQUESTS} -5\n",
    "another page": "<html>this is not what you asked for</html>\n",
    "an empty page": "",
    "something else": "process_cpu_seconds_total 5\n",
}


async def test_balancers_that_say_nonsense_are_not_believed(prometheus: RealPrometheus) -> None:
    async def told(number: int, lie: str) -> None:
        async with scene(prometheus, f"lied-to-{number}", 3, requests_per_second=4) as found:
            await found.until(informed, 20)
            found.model.balancer.text = lie
            await found.until(lambda it: blind(it, "MetricsMissing"), 10)
            await asyncio.sleep(8)
            assert blind(found, "MetricsMissing"), found.decision
            assert (found.replicas, found.writes) == (3, [])

    async with asyncio.TaskGroup() as all_at_once:
        for number, lie in enumerate(LIES.values()):
            all_at_once.create_task(told(number, lie))


async def test_replicas_that_say_nonsense_keep_what_runs(prometheus: RealPrometheus) -> None:
    """Demand is known and fits one; but the second of three replicas cannot be believed."""
    usage = of_model(replica.KV_CACHE_USAGE.sample)
    async with scene(prometheus, "odd", 3, requests_per_second=4) as found:
        await found.until(informed, 15)
        found.model.replicas[1].text = f"{usage} +Inf\n"
        await found.until(lambda it: it.decision and it.decision.reason == "MetricsIncomplete", 15)
        await asyncio.sleep(8)
        assert (found.replicas, found.writes) == (3, [])


async def test_samples_from_long_ago_are_stale(prometheus: RealPrometheus) -> None:
    async with scene(prometheus, "old", 3, requests_per_second=4) as found:
        then = int((time.time() - 90) * 1000)
        found.model.balancer.text = f"{balancer.BALANCER_HELD_REQUESTS} 0 {then}\n{offered('prompt')} 0\n"
        await found.until(lambda it: blind(it, "MetricsStale"), 10)
        assert (found.replicas, found.writes) == (3, [])


async def test_a_page_of_something_else_is_no_prometheus(prometheus: RealPrometheus) -> None:
    async def page(request: web.Request) -> web.Response:
        return web.Response(text="<html>Grafana</html>", content_type="text/html")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", page)
    async with (
        TestServer(app, host="127.0.0.1") as server,
        scene(prometheus, "misled", 3, url=str(server.make_url("/"))) as found,
    ):
        await found.until(lambda it: blind(it, "PrometheusUnavailable"), 10)
        assert found.decision is not None
        assert "not as Prometheus does" in found.decision.message
        assert (found.replicas, found.writes) == (3, [])
