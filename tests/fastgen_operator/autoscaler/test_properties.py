"""What holds whatever is seen, remembered and asked for."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scaling_looks import settled, signals

from fastgen.contract.autoscaling import ScalingBehavior
from fastgen_operator.autoscaler import Rules, Signals, State, Workload, decide

examples = settings(max_examples=150, deadline=None)
amounts = st.floats(0, 1e6)
maybe = st.none() | amounts
shares = st.floats(0, 1)
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
    behavior = ScalingBehavior.model_validate({"scaleUp": draw(directions), "scaleDown": draw(directions)})
    window = draw(st.integers(20, 3600))
    return Rules(low, max(1, high), draw(shares), behavior, window, active=draw(st.booleans()))


def counted(requests: float | None, share: float) -> float | None:
    return None if requests is None else requests * share


@st.composite
def wild_signals(draw: st.DrawFn) -> Signals:
    """Anything, known or not."""
    replicas = draw(st.integers(0, 25))
    ready = draw(st.integers(0, replicas))
    requests, recent = draw(maybe), draw(maybe)
    numbers = ("offered", "served", "measured")
    return Signals(
        Workload(replicas, ready, draw(st.integers(0, replicas - ready)), draw(st.integers(0, 3))),
        **{f"{name}_tokens_per_second": draw(maybe) for name in numbers},
        calibration=draw(maybe),
        tokens_per_request=draw(maybe),
        held_requests=draw(maybe),
        waiting_requests=draw(maybe),
        waiting_tokens=draw(maybe),
        requests=requests,
        effective_requests=counted(requests, draw(shares)),
        recent_requests=recent,
        recent_effective_requests=counted(recent, draw(shares)),
        kv_usage=draw(st.none() | shares),
        balancers_seen=draw(st.integers(0, 3)),
        replicas_seen=draw(st.integers(0, 25)),
        age_seconds=draw(st.none() | st.floats(0, 120)),
        problems=draw(st.sampled_from([(), ("requests: error",)])),
    )


@st.composite
def whole_signals(draw: st.DrawFn) -> Signals:
    """Everything is known: all that could speak for a change is allowed to."""
    requests = draw(amounts)
    found: dict[str, Any] = {
        "calibration": draw(st.none() | st.floats(0.05, 2)),
        "waiting_tokens": draw(st.just(0.0) | amounts),
        "requests": requests,
        "effective_requests": requests * draw(st.just(1.0) | shares),
        "kv_usage": draw(shares),
        "served_tokens_per_second": draw(amounts),
    }
    return signals(draw(st.integers(1, 25)), draw(st.just(0.0) | st.floats(0, 30_000)), **found)


any_signals = wild_signals() | whole_signals()


@st.composite
def any_state(draw: st.DrawFn) -> State:
    """A memory that looks could have left."""
    if draw(st.booleans()):
        replicas = draw(st.integers(1, 25))
        return settled(replicas, draw(st.integers(1, 25)), capacity_factor=draw(st.floats(0.05, 4)))
    state, now, rules = State(), -1000.0, draw(any_rules())
    for seen in draw(st.lists(any_signals, max_size=3)):
        now += draw(st.sampled_from([5.0, 60.0, 85.0]))
        state = decide(seen, state, now, rules).new_state
    since = draw(st.none() | st.floats(-1000, 0))
    return dataclasses.replace(state, settled_since_seconds=since, capacity_factor=draw(st.floats(0.05, 4)))


@examples
@given(any_signals, any_state(), any_rules())
def test_never_outside_the_bounds(seen: Signals, state: State, rules: Rules) -> None:
    assert rules.min_replicas <= decide(seen, state, 0.0, rules).replicas <= rules.max_replicas


@st.composite
def missed(draw: st.DrawFn, target: float) -> dict[str, float]:
    """Requests of which fewer than `target` kept the promise."""
    requests = draw(st.floats(1, 1e6))
    return {"requests": requests, "effective_requests": requests * target * draw(st.floats(0, 0.999))}


@examples
@given(st.data(), any_signals, any_state(), any_rules())
def test_never_down_while_promises_are_missed(data: st.DataObject, seen: Signals, state: State, rules: Rules) -> None:
    rules = dataclasses.replace(rules, target=max(rules.target, 0.01))
    seen = dataclasses.replace(seen, **data.draw(missed(rules.target)))
    assert decide(seen, state, 0.0, rules).replicas >= rules.within(seen.workload.replicas)


@pytest.mark.parametrize("kept", [True, False])
def test_the_least_load_takes_replicas_away_unless_promises_are_missed(kept: bool) -> None:
    """That the property above is not true for want of anything to take away."""
    rules = Rules(1, 25, 0.99)
    seen = signals(20, 100.0, effective_requests=1000.0 if kept else 989.0)
    assert (decide(seen, settled(20, 1), 0.0, rules).replicas < 20) is kept


@examples
@given(any_signals, any_state(), any_rules())
def test_what_is_not_known_is_never_a_reason_to_change(seen: Signals, state: State, rules: Rules) -> None:
    blind = {
        "MetricsMissing": dataclasses.replace(seen, offered_tokens_per_second=None),
        "MetricsStale": dataclasses.replace(
            seen, age_seconds=61.0, offered_tokens_per_second=1e9, held_requests=0.0, effective_requests=0.0
        ),
        "PrometheusUnavailable": Signals(seen.workload, failure="it did not answer"),
    }
    for reason, unknown in blind.items():
        decision = decide(unknown, state, 0.0, rules)
        assert (decision.replicas, decision.reason) == (rules.within(seen.workload.replicas), reason)
        assert not decision.is_informed


@st.composite
def incomplete(draw: st.DrawFn) -> Signals:
    """All is well and almost idle, but something is not seen."""
    seen = draw(whole_signals())
    hidden: list[dict[str, Any]] = [
        {"balancers_seen": 1},
        {"replicas_seen": seen.workload.ready - 1},
        {"problems": ("warning: half of the data is missing",)},
        *({name: None} for name in ("served_tokens_per_second", "requests", "effective_requests", "kv_usage")),
        {"waiting_requests": None},
    ]
    return dataclasses.replace(seen, **draw(st.sampled_from(hidden)))


@examples
@given(incomplete(), any_state(), any_rules())
def test_nothing_is_taken_away_before_everything_is_known(seen: Signals, state: State, rules: Rules) -> None:
    assert not seen.whole
    assert decide(seen, state, 0.0, rules).replicas >= rules.within(seen.workload.replicas)


DEMAND = ("offered_tokens_per_second", "held_requests", "waiting_requests", "waiting_tokens")


@examples
@given(any_signals, any_state(), any_rules(), st.sampled_from(DEMAND), amounts, amounts)
def test_more_demand_never_means_fewer_replicas(
    seen: Signals, state: State, rules: Rules, what: str, one: float, other: float
) -> None:
    numbers: list[dict[str, Any]] = [{what: amount} for amount in sorted((one, other))]
    few, many = (decide(dataclasses.replace(seen, **number), state, 0.0, rules).replicas for number in numbers)
    assert few <= many


@examples
@given(any_signals, any_state(), any_rules())
def test_the_same_look_gives_the_same_decision_and_a_gap_forgets_the_past(
    seen: Signals, state: State, rules: Rules
) -> None:
    assert decide(seen, state, 0.0, rules) == decide(seen, state, 0.0, rules)
    window = rules.behavior.scale_down.stabilization_window_seconds
    if window is None or window > 0:
        later = decide(seen, state, 10_000.0, rules)
        assert later.replicas >= rules.within(seen.workload.replicas)


@examples
@given(any_signals, any_state(), any_rules())
def test_advice_is_what_would_be_done(seen: Signals, state: State, rules: Rules) -> None:
    advised, done = (decide(seen, state, 0.0, dataclasses.replace(rules, active=active)) for active in (False, True))
    assert advised[:4] == done[:4]
    assert len(advised.new_state.changes) <= len(done.new_state.changes)
