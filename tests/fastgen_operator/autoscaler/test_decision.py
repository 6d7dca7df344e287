"""What the autoscaler promises: bounds, patience, honesty about what it does not know."""

from __future__ import annotations

import dataclasses
import math
import random
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fastgen.contract.autoscaling import ScalingBehavior
from fastgen_operator.autoscaler import Rules, Signals, State, Workload, decide
from fastgen_operator.autoscaler.state import Recommendation

EACH = 1000.0
"""Tokens per second that one replica measured."""
RULES = Rules(1, 8, 0.99)
TICK = 15.0


def signals(replicas: int = 2, demand: float = 1500.0, **more: Any) -> Signals:
    """A healthy deployment: everything known, promises kept."""
    workload = {"ready": replicas, "late": 0, "balancers": 2} | more.pop("workload", {})
    ready = workload["ready"]
    known: dict[str, Any] = {
        "offered_tokens_per_second": demand, "tokens_per_request": 500.0, "held_requests": 0.0, "waiting_requests": 0.0,
        "served_tokens_per_second": min(demand, EACH * ready), "requests": 1000.0, "effective_requests": 1000.0,
        "measured_tokens_per_second": EACH, "kv_usage": 0.3, "balancers_seen": 2, "replicas_seen": ready,
        "age_seconds": 5.0,
    }  # fmt: skip
    return Signals(Workload(replicas, **workload), **(known | more))


def settled(replicas: int, wanted: int | None = None, seconds: float = 900.0, **more: Any) -> State:
    """Memory of a quiet while in which each look wanted `wanted` replicas."""
    ticks = int(seconds / TICK)
    history = tuple(Recommendation(i * TICK - seconds, wanted or replicas) for i in range(ticks))
    return State(ready=replicas, settled_since_seconds=-seconds, recommendations=history, **more)


IDLE = {"requests": 0.0, "effective_requests": 0.0, "served_tokens_per_second": 0.0}


@pytest.mark.parametrize(
    ("seen", "state", "replicas", "reason"),
    [
        (signals(2, 1500), settled(2), 2, "WithinBand"),
        (signals(2, 1699), settled(2), 2, "WithinBand"),
        (signals(2, 1701), settled(2), 3, "DemandAboveCapacity"),
        (signals(2, 5000), settled(2), 6, "DemandAboveCapacity"),
        (signals(2, 99_000), settled(2), 8, "AtMaximum"),
        (signals(4, 2000), settled(4, 3), 3, "DemandFitsFewer"),
        (signals(4, 2000), settled(4), 4, "Stabilizing"),
        (signals(4, 2000), State(), 4, "Stabilizing"),
        (signals(4, 2000, kv_usage=0.8), settled(4, 3), 4, "KvCacheNeeded"),
        (signals(4, 2000, replicas_seen=3), settled(4, 3), 4, "MetricsIncomplete"),
        (signals(4, 2000, balancers_seen=1), settled(4, 3), 4, "MetricsIncomplete"),
        (signals(4, 9000, replicas_seen=3), settled(4), 8, "AtMaximum"),
        (signals(4, 2000, effective_requests=980.0), settled(4, 3), 5, "AttainmentBelowTarget"),
        (signals(4, 2000, requests=10.0, effective_requests=9.8), settled(4, 3), 4, "AttainmentBelowTarget"),
        (signals(2, 1500, effective_requests=900.0), State(), 2, "AttainmentBelowTarget"),
        (signals(2, 0, **IDLE), settled(2, 1), 1, "Idle"),
        (signals(2, 0, **IDLE | {"served_tokens_per_second": 5.0}), settled(2, 1), 1, "DemandFitsFewer"),
        (signals(2, 1500, measured_tokens_per_second=None), settled(2), 2, "CapacityUnknown"),
        (signals(2, 1500, offered_tokens_per_second=None), settled(2), 2, "MetricsMissing"),
        (signals(2, 99_000, age_seconds=61.0), settled(2), 2, "MetricsStale"),
        (signals(2, 99_000, replicas_seen=0), settled(2), 2, "MetricsMissing"),
        (signals(4, 9000, workload={"ready": 2, "late": 2}), settled(2), 4, "PendingTooLong"),
        (signals(4, 1000, workload={"ready": 2, "late": 2}), settled(2, 2), 2, "DemandFitsFewer"),
        (signals(4, 3000, workload={"ready": 1}), State(), 4, "WithinBand"),
        (signals(12, 8000), settled(12), 8, "AtMaximum"),
        (signals(12, 5000), settled(12), 8, "DemandFitsFewer"),
    ],
)  # fmt: skip
def test_decisions(seen: Signals, state: State, replicas: int, reason: str) -> None:
    decision = decide(seen, state, 0.0, RULES)
    assert (decision.replicas, decision.reason) == (replicas, reason), decision.message
    assert decision.message


def test_a_queue_is_demand_too() -> None:
    assert (
        decide(signals(2, 1500, waiting_requests=30.0), settled(2), 0.0, RULES).numbers.demand_tokens_per_second == 2000
    )
    assert decide(signals(2, 1500, calibration=0.5), settled(2), 0.0, RULES).numbers.demand_tokens_per_second == 750


# -- to and from zero -----------------------------------------------------------------------------------------------

SLEEPY = dataclasses.replace(RULES, min_replicas=0)
NOTHING = {"replicas_seen": 0, "served_tokens_per_second": None, "requests": None, "effective_requests": None} | {
    "waiting_requests": None, "kv_usage": None, "measured_tokens_per_second": None,
}  # fmt: skip


def test_an_idle_model_sleeps_once_it_was_idle_for_the_whole_window() -> None:
    state, asleep_at = State(), None
    for tick in range(60):
        decision = decide(signals(1, 0, **IDLE), state, tick * TICK, SLEEPY)
        state = decision.new_state
        if decision.replicas == 0:
            asleep_at = tick * TICK
            break
    assert asleep_at == 300.0


def test_a_model_with_a_request_running_does_not_sleep() -> None:
    busy = signals(1, 0, **IDLE | {"served_tokens_per_second": 3.0})
    assert decide(busy, settled(1), 0.0, SLEEPY).replicas == 1


def test_a_held_request_wakes_a_replica_at_once() -> None:
    decision = decide(signals(0, 0, held_requests=1.0, **NOTHING), State(), 0.0, SLEEPY)
    assert (decision.replicas, decision.reason) == (1, "WakeFromZero")
    assert decide(signals(0, 0, **NOTHING), State(), 0.0, SLEEPY).replicas == 0


def test_a_burst_wakes_as_many_as_it_needs_where_capacity_is_remembered() -> None:
    state = State(measured_tokens_per_second=EACH)
    assert decide(signals(0, 2500, held_requests=9.0, **NOTHING), state, 0.0, SLEEPY).replicas == 4


def test_percent_policies_do_not_keep_a_model_asleep() -> None:
    slow = ScalingBehavior.model_validate(
        {"scaleUp": {"policies": [{"type": "Percent", "value": 100, "periodSeconds": 60}]}}
    )
    rules = dataclasses.replace(SLEEPY, behavior=slow)
    assert decide(signals(0, 2500, held_requests=9.0, **NOTHING), State(), 0.0, rules).replicas == 1


# -- properties -----------------------------------------------------------------------------------------------------

examples = settings(max_examples=60, deadline=None)
amounts = st.floats(0, 1e6, allow_nan=False)
maybe = st.none() | amounts
policies = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["Pods", "Percent"]),
            "value": st.integers(1, 300),
            "periodSeconds": st.integers(1, 1800),
        }
    ),
    max_size=3,
)
directions = st.fixed_dictionaries(
    {"selectPolicy": st.sampled_from(["Max", "Min", "Disabled"]), "policies": policies},
    optional={"stabilizationWindowSeconds": st.integers(0, 3600)},
)


@st.composite
def any_rules(draw: st.DrawFn) -> Rules:
    low, high = sorted((draw(st.integers(0, 20)), draw(st.integers(1, 20))))
    asked = {"scaleUp": draw(directions), "scaleDown": draw(directions)}
    behavior = ScalingBehavior.model_validate(asked)
    return Rules(low, max(1, high), draw(st.floats(0, 1)), behavior, draw(st.booleans()))


@st.composite
def any_signals(draw: st.DrawFn) -> Signals:
    replicas = draw(st.integers(0, 25))
    ready = draw(st.integers(0, replicas))
    workload = Workload(replicas, ready, draw(st.integers(0, replicas - ready)), draw(st.integers(0, 3)))
    requests = draw(maybe)
    share = draw(st.floats(0, 1))
    return Signals(
        workload, draw(maybe), draw(maybe), draw(maybe), draw(maybe), draw(maybe), draw(maybe), requests,
        None if requests is None else requests * share, draw(maybe), draw(st.none() | st.floats(0, 1)),
        draw(st.integers(0, 3)), draw(st.integers(0, 25)), draw(st.none() | st.floats(0, 120)),
        draw(st.sampled_from([(), ("requests: error",)])),
    )  # fmt: skip


@st.composite
def any_state(draw: st.DrawFn) -> State:
    """A memory that looks could have left."""
    state, now, rules = State(), -1000.0, draw(any_rules())
    for seen in draw(st.lists(any_signals(), max_size=3)):
        now += draw(st.sampled_from([5.0, 60.0, 85.0]))
        state = decide(seen, state, now, rules).new_state
    return dataclasses.replace(
        state, settled_since_seconds=draw(st.none() | st.floats(-1000, 0)), capacity_factor=draw(st.floats(0.05, 4))
    )


@examples
@given(any_signals(), any_state(), any_rules())
def test_never_outside_the_bounds(seen: Signals, state: State, rules: Rules) -> None:
    assert rules.min_replicas <= decide(seen, state, 0.0, rules).replicas <= rules.max_replicas


@examples
@given(any_signals(), any_state(), any_rules())
def test_never_down_while_promises_are_missed(seen: Signals, state: State, rules: Rules) -> None:
    assume(seen.attainment is not None and seen.attainment < rules.target)
    assert decide(seen, state, 0.0, rules).replicas >= rules.within(seen.workload.replicas)


@examples
@given(any_signals(), any_state(), any_rules())
def test_what_is_not_known_is_never_a_reason_to_change(seen: Signals, state: State, rules: Rules) -> None:
    blind = [
        dataclasses.replace(seen, offered_tokens_per_second=None),
        dataclasses.replace(seen, age_seconds=None),
        dataclasses.replace(seen, age_seconds=61.0),
    ]
    for unknown in blind:
        decision = decide(unknown, state, 0.0, rules)
        assert decision.replicas == rules.within(seen.workload.replicas)
        assert not decision.is_informed
        assert decision.reason in ("MetricsMissing", "MetricsStale")


@examples
@given(any_signals(), any_state(), any_rules())
def test_nothing_is_taken_away_before_everything_is_known(seen: Signals, state: State, rules: Rules) -> None:
    assume(not seen.whole)
    assert decide(seen, state, 0.0, rules).replicas >= rules.within(seen.workload.replicas)


@examples
@given(any_signals(), any_state(), any_rules(), amounts, amounts)
def test_more_demand_never_means_fewer_replicas(
    seen: Signals, state: State, rules: Rules, one: float, other: float
) -> None:
    less, more = sorted((one, other))
    few, many = (
        decide(dataclasses.replace(seen, offered_tokens_per_second=offered), state, 0.0, rules).replicas
        for offered in (less, more)
    )
    assert few <= many


@examples
@given(any_signals(), any_state(), any_rules())
def test_the_same_look_gives_the_same_decision_and_a_gap_forgets_the_past(
    seen: Signals, state: State, rules: Rules
) -> None:
    assert decide(seen, state, 0.0, rules) == decide(seen, state, 0.0, rules)
    window = rules.behavior.scale_down.stabilization_window_seconds
    if window is None or window > 0:
        later = decide(seen, state, 10_000.0, rules)
        assert later.replicas >= rules.within(seen.workload.replicas)


# -- over time ------------------------------------------------------------------------------------------------------


class Cluster:
    """Replicas that do what they can, and take a while to start."""

    def __init__(self, rules: Rules, true_capacity: float, replicas: int = 1, start_seconds: float = 60.0) -> None:
        self.rules, self.capacity, self.start_seconds = rules, true_capacity, start_seconds
        self.ready_at = [0.0] * replicas
        self.state, self.now, self.changes = State(), 0.0, 0

    def tick(self, demand: float) -> int:
        ready = sum(at <= self.now for at in self.ready_at)
        kept = min(1.0, ready * self.capacity / demand) if demand else 1.0
        requests = demand / 500 * 120
        seen = signals(
            len(self.ready_at), demand, workload={"ready": ready}, requests=requests,
            effective_requests=requests * (1.0 if kept == 1.0 else kept / 2),
            served_tokens_per_second=min(demand, ready * self.capacity), replicas_seen=ready,
        )  # fmt: skip
        decision = decide(seen, self.state, self.now, self.rules)
        self.changes += decision.replicas != len(self.ready_at)
        missing = decision.replicas - len(self.ready_at)
        self.ready_at = [*self.ready_at, *([self.now + self.start_seconds] * missing)][: decision.replicas]
        self.state, self.now = decision.new_state, self.now + TICK
        return decision.replicas


@pytest.mark.parametrize("demand", [300, 840, 860, 1700, 2500, 4200, 5600])
@pytest.mark.parametrize("noise", [0.0, 0.03, 0.08])
def test_a_constant_load_with_noise_does_not_flap(demand: float, noise: float) -> None:
    draw = random.Random(7)
    cluster = Cluster(RULES, true_capacity=EACH)
    for _ in range(40):
        cluster.tick(demand * draw.uniform(1 - noise, 1 + noise))
    cluster.changes = 0
    seen = {cluster.tick(demand * draw.uniform(1 - noise, 1 + noise)) for _ in range(400)}
    assert cluster.changes <= 1
    assert len(seen) <= 2


def test_load_that_doubles_in_steps_and_falls_away_is_followed() -> None:
    cluster = Cluster(RULES, true_capacity=EACH)
    replicas = []
    for demand in (400, 800, 1600, 3200, 6400, 3200, 400):
        for _ in range(60):
            last = cluster.tick(demand)
        replicas.append(last)
    # Up: demand / 0.85. Down: demand / 0.70.
    assert replicas == [1, 1, 2, 4, 8, 5, 1]


def test_a_measurement_that_promised_too_much_is_found_out_and_corrected() -> None:
    cluster = Cluster(RULES, true_capacity=0.5 * EACH)
    for _ in range(200):
        last = cluster.tick(1500.0)
    assert last >= math.ceil(1500 / (0.5 * EACH))
    assert 0.3 < cluster.state.capacity_factor < 0.8


def test_where_nothing_was_measured_capacity_is_learnt_when_promises_are_missed() -> None:
    state, now = settled(2), 0.0
    bad = signals(2, 1800, measured_tokens_per_second=None, effective_requests=500.0, served_tokens_per_second=900.0)
    decision = decide(bad, state, now, RULES)
    assert (decision.replicas, decision.new_state.seen_tokens_per_second) == (3, 450.0)


def test_another_measurement_begins_anew() -> None:
    state = dataclasses.replace(settled(2), measured_tokens_per_second=EACH, capacity_factor=0.5)
    after = decide(signals(2, 900, measured_tokens_per_second=2000.0), state, 0.0, RULES).new_state
    assert (after.measured_tokens_per_second, after.capacity_factor) == (2000.0, 1.0)


def test_a_lowered_estimate_grows_back_after_an_hour() -> None:
    state = dataclasses.replace(
        settled(2, seconds=900), measured_tokens_per_second=EACH, capacity_factor=0.5, lowered_at_seconds=-3000.0
    )
    early = decide(signals(2, 700), state, 0.0, RULES).new_state
    assert early.capacity_factor == 0.5
    late = decide(signals(2, 700), early, 700.0, RULES).new_state
    assert late.capacity_factor == pytest.approx(0.52)


def test_missed_promises_right_after_a_change_are_not_blamed_on_capacity() -> None:
    bad = signals(3, 2000, effective_requests=500.0)
    state = dataclasses.replace(settled(3), ready=2)
    first = decide(bad, state, 0.0, RULES)
    assert (first.replicas, first.new_state.capacity_factor) == (3, 1.0)
    later = decide(bad, first.new_state, RULES.window_seconds, RULES)
    assert later.replicas == 4
    assert later.new_state.capacity_factor < 1.0
