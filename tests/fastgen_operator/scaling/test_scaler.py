"""The clockwork around decide(): whose turn it is, what is written, and what is left alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from scaling_world import EACH, Prometheus, World
from waiting import eventually_async

from fastgen.contract.status import AutoscalingStatus, FastGenDeploymentStatus
from fastgen_operator.autoscaler import Workload
from fastgen_operator.key import Key
from fastgen_operator.scaling import ScaleChanged, scaler

RARELY = 600.0
"""An interval that no test waits for: what happens within one was not a matter of turns."""
NEVER_AGAIN = {"scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 1800}]}}


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(scaler, "SCAN_SECONDS", 0.02)
    async with Prometheus().listening() as prometheus:
        yield World(prometheus)
        prometheus.release()


def busy(world: World, times: float, name: str = "llama") -> None:
    """Demand of that many replicas."""
    world.prometheus.numbers[name] = {"offered_tokens_per_second": times * EACH * 0.85}


async def several_looks(world: World, name: str = "llama", count: int = 4) -> None:
    before = world.prometheus.asked.count(name)
    await eventually_async(lambda: world.prometheus.asked.count(name) >= before + count)


async def test_what_is_decided_is_written_said_and_published(world: World) -> None:
    key = world.add()
    busy(world, 3)
    async with world.scaled() as scaling:
        await eventually_async(lambda: world.writes)
        await eventually_async(lambda: world.metric("replicas") == 3)
        decision = scaling.decision(key)
    assert world.writes == [("llama", 3)]
    (said,) = world.said
    assert (said[0], said[1].reason, said[1].replicas, said[2]) == ("llama", "DemandAboveCapacity", 3, 1)
    assert decision is not None
    assert decision.replicas == 3
    assert key in world.woken
    assert world.metric("desired_replicas") == 3
    assert world.metric("capacity_tokens_per_second") == EACH
    assert world.metric("attainment_ratio") == 1.0
    assert world.metric("informed") == 1
    assert world.metric("changes_total", direction="up") == 1
    assert world.metric("decisions_total", reason="DemandAboveCapacity") == 1


async def test_a_steady_state_writes_nothing_and_wakes_nobody(world: World) -> None:
    world.add()
    async with world.scaled():
        await eventually_async(lambda: world.woken)
        await several_looks(world)
    assert (world.writes, world.said, len(world.woken)) == ([], [], 1)


async def test_advisory_says_and_does_nothing(world: World) -> None:
    key = world.add(mode="Advisory")
    async with world.scaled() as scaling:
        await several_looks(world)
        busy(world, 5)
        await eventually_async(lambda: world.said)
        await several_looks(world)
        decision = scaling.decision(key)
    assert decision is not None
    assert (decision.replicas, decision.new_state.changes) == (5, ())
    assert [(said[1].replicas, said[2]) for said in world.said] == [(5, 1)]
    assert world.metric("desired_replicas") == 5
    assert (world.writes, world.metric("replicas")) == ([], 1)


@pytest.mark.parametrize("how", ["deleted", "suspended", "unset"])
async def test_what_does_not_scale_any_more_is_forgotten(world: World, how: str) -> None:
    key = world.add()
    async with world.scaled() as scaling:
        await eventually_async(lambda: world.metric("informed") == 1)
        if how == "deleted":
            del world.deployments[key]
        elif how == "suspended":
            busy(world, 8)
            world.add(suspend=True)
        else:
            spec = world.deployments[key].spec.model_copy(update={"autoscaling": None})
            world.deployments[key] = world.deployments[key].model_copy(update={"spec": spec})
        await eventually_async(lambda: scaling.decision(key) is None)
        asked = len(world.prometheus.asked)
        await asyncio.sleep(4 * scaler.SCAN_SECONDS)
        assert len(world.prometheus.asked) <= asked + 1  # The one that was on its way.
    own = [
        sample
        for family in world.registry.collect()
        for sample in family.samples
        if sample.labels.get("name") == "llama"
    ]
    assert own == []
    assert world.writes == []


async def test_where_somebody_was_faster_it_looks_again_at_once(world: World) -> None:
    world.add()
    busy(world, 3)
    world.failures.append(ScaleChanged("somebody was faster"))
    async with world.scaled(RARELY):
        await eventually_async(lambda: world.writes)
        assert world.metric("changes_total", direction="conflict") == 1
    assert world.writes == [("llama", 3)]


async def test_a_write_that_failed_did_not_happen(world: World) -> None:
    """A policy that allows one change in half an hour is not used up by a change that was never made."""
    world.add(behavior=NEVER_AGAIN)
    busy(world, 2)
    world.failures += [OSError("connection reset"), OSError("connection reset")]
    async with world.scaled():
        await eventually_async(lambda: world.writes)
        assert world.metric("changes_total", direction="error") == 2
        busy(world, 5)
        await several_looks(world)
    assert world.writes == [("llama", 2)]
    assert [said[1].replicas for said in world.said] == [2]


@pytest.mark.parametrize("is_broken", [False, True])
@pytest.mark.parametrize(("replicas", "bounded"), [(20, 8), (1, 2)])
async def test_bounds_hold_at_once_when_a_person_scales_beyond_them(
    world: World, replicas: int, bounded: int, is_broken: bool
) -> None:
    key = world.add(replicas=4, minReplicas=2)
    world.prometheus.is_broken = is_broken
    async with world.scaled(RARELY) as scaling:
        await eventually_async(lambda: scaling.decision(key) is not None)
        world.set_replicas(key, replicas)
        await eventually_async(lambda: world.writes, 2.0)
    assert world.writes == [("llama", bounded)]


async def test_another_manifest_counts_at_once(world: World) -> None:
    key = world.add(replicas=4)
    async with world.scaled(RARELY) as scaling:
        await eventually_async(lambda: scaling.decision(key) is not None)
        world.add(replicas=4, maxReplicas=3)
        await eventually_async(lambda: world.writes, 2.0)
    assert world.writes == [("llama", 3)]


async def test_a_look_that_began_under_another_manifest_changes_nothing(world: World) -> None:
    world.add()
    busy(world, 8)
    world.prometheus.hangs.add("llama")
    async with world.scaled(RARELY):
        await eventually_async(lambda: world.prometheus.asked)
        world.prometheus.release()
        world.add(mode="Advisory")
        await eventually_async(lambda: world.metric("desired_replicas") == 8)
    assert world.writes == []


async def test_a_slow_prometheus_delays_nobody_else(world: World) -> None:
    world.add("slow")
    world.prometheus.hangs.add("slow")
    for number in range(5):
        world.add(f"quick-{number}")
    async with world.scaled():
        for number in range(5):
            await several_looks(world, f"quick-{number}", 3)
    assert world.prometheus.asked.count("slow") == 1


async def test_prometheus_away_holds_and_says_so_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaler, "BLIND_SECONDS", 0.3)
    key = world.add(replicas=3)
    world.prometheus.is_broken = True
    async with world.scaled() as scaling:
        await eventually_async(lambda: world.said)
        await several_looks(world)
        decision = scaling.decision(key)
        assert decision is not None
        assert (decision.replicas, decision.reason, decision.is_informed) == (3, "PrometheusUnavailable", False)
        assert "HTTP status 503" in decision.message
        assert world.prometheus.url in decision.message
        assert (world.metric("informed"), len(world.said), len(world.woken)) == (0, 1, 1)
        world.prometheus.is_broken = False
        await eventually_async(lambda: len(world.said) == 2)
        await several_looks(world)
    assert [(said[1].is_informed, said[2]) for said in world.said] == [(False, 3), (True, 3)]
    assert world.writes == []
    errors = world.registry.get_sample_value("fastgen_operator_prometheus_query_errors_total", {"kind": "refused"})
    assert (errors or 0) >= 4


async def test_a_short_blindness_is_no_event(world: World) -> None:
    world.add()
    world.prometheus.is_broken = True
    async with world.scaled():
        await several_looks(world)
        world.prometheus.is_broken = False
        await eventually_async(lambda: world.metric("informed") == 1)
    assert world.said == []


async def test_a_restarted_operator_remembers_what_was_learnt(world: World) -> None:
    key = world.add()
    world.statuses[key] = status(AutoscalingStatus(desired_replicas=1, capacity_factor="0.50"))
    busy(world, 2)
    async with world.scaled():
        await eventually_async(lambda: world.writes)
    assert world.writes[0] == ("llama", 4)


def status(autoscaling: AutoscalingStatus) -> FastGenDeploymentStatus:
    return FastGenDeploymentStatus(
        observed_generation=1, replicas=1, ready_replicas=1, updated_replicas=1, balancer_ready_replicas=1,
        selector="", conditions=[], autoscaling=autoscaling,
    )  # fmt: skip


async def test_a_held_request_wakes_a_sleeping_model(world: World) -> None:
    world.add(replicas=0, minReplicas=0)
    world.prometheus.numbers["llama"] = {"offered_tokens_per_second": 0.0}
    async with world.scaled():
        await several_looks(world)
        assert world.writes == []
        world.prometheus.numbers["llama"]["held_requests"] = 1.0
        await eventually_async(lambda: world.writes)
    assert world.writes == [("llama", 1)]
    assert world.said[0][1].reason == "WakeFromZero"


async def test_a_bug_in_one_look_is_not_the_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.add("well")
    world.add("ill")
    honest = world.workload

    def workload(key: Key) -> Workload:
        if key.name == "ill":
            raise KeyError("nobody expected this")
        return honest(key)

    monkeypatch.setattr(world, "workload", workload)
    async with world.scaled():
        await several_looks(world, "well")
        monkeypatch.undo()
        await several_looks(world, "ill")


async def test_an_event_that_cannot_be_written_changes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise OSError("the API server is away")

    monkeypatch.setattr(world, "announce", fail)
    world.add()
    busy(world, 3)
    async with world.scaled():
        await eventually_async(lambda: world.metric("replicas") == 3)
    assert world.writes == [("llama", 3)]
