"""What the autoscaler promises: bounds, patience, honesty about what it does not know."""

from __future__ import annotations

import dataclasses

import pytest
from scaling_looks import EACH, RULES, TICK, settled, signals

from fastgen.contract.autoscaling import ScalingBehavior
from fastgen_operator.autoscaler import Signals, State, decide

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


@pytest.mark.parametrize(
    ("held", "waiting", "tokens", "demand"),
    [(30, 0, 0, 2000), (0, 30, 0, 2000), (0, 0, 15_000, 2000), (0, 30, 15_000, 2000), (30, 30, 3000, 2500)],
)
def test_a_queue_counts_once_wherever_it_stands(held: float, waiting: float, tokens: float, demand: float) -> None:
    seen = signals(2, 1500, held_requests=held, waiting_requests=waiting, waiting_tokens=tokens)
    assert decide(seen, settled(2), 0.0, RULES).numbers.demand_tokens_per_second == demand


def test_what_was_late_and_is_not_any_more_asks_for_nothing_and_still_takes_nothing_away() -> None:
    over = signals(4, 2000, effective_requests=500.0, recent_requests=100.0, recent_effective_requests=100.0)
    decision = decide(over, settled(4, 3), 0.0, RULES)
    assert (decision.replicas, decision.reason, decision.new_state.capacity_factor) == (4, "AttainmentBelowTarget", 1.0)
    lasting = dataclasses.replace(over, recent_effective_requests=60.0)
    assert decide(lasting, settled(4, 3), 0.0, RULES).replicas == 5
    stalled = dataclasses.replace(over, recent_requests=0.0, recent_effective_requests=0.0)
    assert decide(stalled, settled(4, 3), 0.0, RULES).replicas == 5


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


# -- what is learnt of capacity --------------------------------------------------------------------------------------


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
