"""The decision: a pure function of signals, memory and time.

demand / 0.85 > supply                         up, at once
promises missed                                one up, and see what it does
demand / 0.70 fits fewer, promises kept,       down, once it held for the whole window
    everything known
anything unknown                               hold, and say so
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from fastgen.contract import FastGenDeployment
from fastgen.contract.autoscaling import MAX_REPLICAS, AutoscalingSpec, ScalingBehavior
from fastgen_operator.autoscaler import behavior, capacity
from fastgen_operator.autoscaler.demand import (
    calibration,
    demand_tokens_per_second,
    is_below,
    is_idle,
    is_surely_below,
)
from fastgen_operator.autoscaler.signals import Signals
from fastgen_operator.autoscaler.state import Change, Recommendation, State

UP_LOAD = 0.85
"""Above this share of the supply, replicas are added."""
DOWN_LOAD = 0.70
"""Fewer replicas must be loaded no higher than this."""
KV_LOAD = 0.90
"""With fewer replicas, none may fill its KV cache further than this."""


@dataclass(frozen=True)
class Rules:
    """What the manifest says about scaling."""

    min_replicas: int
    max_replicas: int
    target: float
    behavior: ScalingBehavior = field(default_factory=ScalingBehavior)
    window_seconds: float = 120.0
    """How far back the attainment looks."""
    active: bool = True
    """False: mode Advisory, where decisions are published and nobody acts on them."""

    @classmethod
    def of(cls, deployment: FastGenDeployment, autoscaling: AutoscalingSpec) -> Rules:
        return cls(
            autoscaling.min_replicas,
            autoscaling.max_replicas,
            float(deployment.spec.sla.target),
            autoscaling.behavior,
            autoscaling.window_seconds,
            autoscaling.mode == "Active",
        )

    def within(self, replicas: int) -> int:
        return min(self.max_replicas, max(self.min_replicas, replicas))


class Numbers(NamedTuple):
    """What a decision was made from; None is not known."""

    demand_tokens_per_second: float | None = None
    supply_tokens_per_second: float | None = None
    capacity_tokens_per_second: float | None = None
    """Of one replica."""
    attainment: float | None = None


class Decision(NamedTuple):
    """How many replicas there should be, and why."""

    replicas: int
    reason: str
    """One word, for programs; docs/autoscaling.md lists them."""
    message: str
    numbers: Numbers
    new_state: State
    is_informed: bool
    """Whether the signals allowed to decide; False is a hold for want of data."""


class _Wish(NamedTuple):
    """What one look wants, before windows, policies and bounds."""

    replicas: int
    reason: str
    message: str


def decide(signals: Signals, state: State, now_seconds: float, rules: Rules) -> Decision:
    """How many replicas there should be. `now_seconds` is of any clock that only goes forward."""
    current = signals.workload.replicas
    blind = signals.blindness
    if blind is not None:
        held = rules.within(current)
        history = behavior.remember(state.recommendations, now_seconds, held)
        new_state = dataclasses.replace(state, recommendations=history)
        stays = f"staying at {_count(held)}"
        does = stays if held == current else f"{_count(held)}, as minReplicas and maxReplicas allow"
        message = f"{blind[1]}; {does}"
        return Decision(held, blind[0], message, Numbers(attainment=signals.attainment), new_state, False)
    factor = calibration(signals, state)
    demand = demand_tokens_per_second(signals, factor)
    state = capacity.with_load(capacity.with_measurement(state, signals), signals, demand, now_seconds)
    each = capacity.estimate(state)
    counted = max(0, current - signals.workload.late)
    numbers = Numbers(demand, None if each is None else each * counted, each, signals.attainment)
    wish = _wish(signals, state, now_seconds, rules, numbers)
    history = behavior.remember(state.recommendations, now_seconds, rules.within(wish.replicas))
    chosen = _chosen(wish, current, history, state.changes, rules)
    new_state = dataclasses.replace(
        capacity.corrected(state, signals, rules.target, now_seconds, rules.window_seconds),
        calibration=factor,
        recommendations=history,
        changes=_changes(state, chosen.replicas - current, now_seconds, rules),
    )
    return Decision(chosen.replicas, chosen.reason, chosen.message, numbers, new_state, True)


def _wish(signals: Signals, state: State, now_seconds: float, rules: Rules, numbers: Numbers) -> _Wish:
    """Where arithmetic alone would go."""
    current, late = signals.workload.replicas, signals.workload.late
    demand, each = numbers.demand_tokens_per_second or 0.0, numbers.capacity_tokens_per_second
    if current == 0:
        return _asleep(signals, demand, each)
    wish = _by_demand(signals, rules, demand, each)
    if wish.replicas < current:
        wish = _guarded(wish, signals, rules)
    if wish.replicas <= current and is_surely_below(signals, rules.target):
        wish = _by_attainment(signals, state, now_seconds, rules)
    if late and wish.replicas > current:
        return _Wish(
            current,
            "PendingTooLong",
            f"{_count(wish.replicas)} wanted, but {late} of {current} did not become ready in time, so asking for more "
            "cannot help: add nodes (or GPUs), or look at the pods' events",
        )
    return wish


def _asleep(signals: Signals, demand: float, each: float | None) -> _Wish:
    """From zero: any request wakes a replica."""
    if demand <= 0 and not signals.held_requests:
        return _Wish(0, "Idle", "asleep; the first request wakes a replica")
    wanted = max(1, _needed(demand, each, UP_LOAD)) if each else 1
    held = f"{signals.held_requests:.0f} requests are held for a replica to wake"
    return _Wish(wanted, "WakeFromZero", held)


def _by_demand(signals: Signals, rules: Rules, demand: float, each: float | None) -> _Wish:
    current = signals.workload.replicas
    if is_idle(signals):
        return _Wish(min(current, 0 if rules.min_replicas == 0 else 1), "Idle", "no request arrives, waits or runs")
    if each is None or each <= 0:
        return _Wish(
            current,
            "CapacityUnknown",
            "no replica measured what it can do (engine.tokenBudget was set by hand, or none has started yet); it is "
            "learnt when promises are first missed",
        )
    load = f"demand {demand:.0f} tokens/s, {each:.0f} tokens/s for each replica"
    up = _needed(demand, each, UP_LOAD)
    if up > current:
        return _Wish(up, "DemandAboveCapacity", f"{load}: above {UP_LOAD:.0%} of {_count(current)}")
    fewer = max(1, _needed(demand, each, DOWN_LOAD))
    if fewer >= current:
        return _Wish(current, "WithinBand", f"{load}: {_count(current)} are right")
    return _Wish(fewer, "DemandFitsFewer", f"{load}: at most {DOWN_LOAD:.0%} of {_count(fewer)}")


def _guarded(wish: _Wish, signals: Signals, rules: Rules) -> _Wish:
    """A wish for fewer, unless something speaks against it."""
    current = signals.workload.replicas
    if is_below(signals, rules.target):
        return _Wish(current, "AttainmentBelowTarget", f"{wish.message}; but {_attained(signals, rules)}")
    if not signals.whole:
        return _Wish(current, "MetricsIncomplete", f"{wish.message}; but {_incomplete(signals)}")
    fullest = signals.kv_usage or 0.0
    fewest = min(current, math.ceil(fullest * current / KV_LOAD))
    if wish.replicas < fewest and wish.reason != "Idle":
        return _Wish(fewest, "KvCacheNeeded", f"{wish.message}; but the fullest KV cache is {fullest:.0%} full")
    return wish


def _by_attainment(signals: Signals, state: State, now_seconds: float, rules: Rules) -> _Wish:
    """Promises are missed though the demand should fit: one more, then wait until it shows."""
    current, ready = signals.workload.replicas, signals.workload.ready
    attained = _attained(signals, rules)
    if ready + signals.workload.late < current:
        return _Wish(current, "AttainmentBelowTarget", f"{attained}; waiting for {current - ready} to become ready")
    if not capacity.is_settled(state, now_seconds, rules.window_seconds):
        return _Wish(current, "AttainmentBelowTarget", f"{attained}; waiting for the last change to show its effect")
    return _Wish(current + 1, "AttainmentBelowTarget", f"{attained}; one more")


def _attained(signals: Signals, rules: Rules) -> str:
    return f"{signals.attainment:.1%} of the requests kept the promise, {rules.target:.1%} should"


def _incomplete(signals: Signals) -> str:
    seen = (
        f"Prometheus sees {signals.replicas_seen} of {signals.workload.ready} replicas and {signals.balancers_seen} of "
        f"{signals.workload.balancers} balancers"
    )
    return "; ".join((seen, *signals.problems)) + "; nothing is taken away before everything is known"


def _chosen(
    wish: _Wish, replicas: int, history: Sequence[Recommendation], changes: Sequence[Change], rules: Rules
) -> _Wish:
    """What windows, policies and bounds let through of a wish; `history` ends with it."""
    current, bounded = rules.within(replicas), rules.within(wish.replicas)
    up, down = rules.behavior.scale_up, rules.behavior.scale_down
    calm = behavior.stabilized(history, current, up, down)
    allowed = behavior.limited(calm, current, changes, history[-1].at_seconds, up, down)
    if allowed != calm:
        words = f"spec.autoscaling.behavior allows {_count(allowed)} now"
        return _Wish(allowed, "PolicyLimited", f"{wish.message}; {_count(calm)} wanted, {words}")
    if calm != bounded:
        reason = "Stabilizing" if calm == current else wish.reason  # a part of the way has held already
        return _Wish(calm, reason, f"{wish.message}; {_count(bounded)} wanted, waiting for it to hold")
    if bounded < wish.replicas:
        return _Wish(calm, "AtMaximum", f"{wish.message}; {_count(wish.replicas)} wanted, maxReplicas allows {calm}")
    if bounded > wish.replicas:
        return _Wish(calm, "AtMinimum", f"{wish.message}; minReplicas keeps {calm}")
    return wish


def _changes(state: State, delta: int, now_seconds: float, rules: Rules) -> tuple[Change, ...]:
    kept = tuple(old for old in state.changes if now_seconds - old.at_seconds <= behavior.KEPT_SECONDS)
    return (*kept, Change(now_seconds, delta)) if rules.active and delta else kept


def _needed(demand: float, each: float | None, load: float) -> int:
    """Replicas so that each is loaded no higher than `load`. A hair's breadth over is not another replica."""
    if not each:
        return 0
    if demand >= load * each * MAX_REPLICAS:
        return MAX_REPLICAS
    return math.ceil(demand / (load * each) - 1e-9)


def _count(replicas: int) -> str:
    return f"{replicas} replica" if replicas == 1 else f"{replicas} replicas"
