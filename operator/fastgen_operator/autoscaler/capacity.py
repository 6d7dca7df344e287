"""What one replica can do while it keeps the promise: measured when it started, corrected by what was seen.

promises kept at more than the estimate   ─►  the estimate was too low: what was seen
promises missed at less than the estimate ─►  it was too high: towards what was seen, a step at a time
nothing of either for an hour             ─►  slowly back to the measurement
"""

from __future__ import annotations

import dataclasses

from fastgen_operator.autoscaler.demand import is_below, is_surely_below
from fastgen_operator.autoscaler.signals import Signals
from fastgen_operator.autoscaler.state import State

LEAST_STEP, MOST_STEP = 0.95, 0.7
"""One lowering goes at least to 0.95 and at most to 0.7 of the estimate."""
MOST_RAISE = 1.1
"""One raise goes at most to 1.1 of the estimate."""
LEAST_FACTOR, MOST_FACTOR = 0.05, 4.0
FORGET_SECONDS = 3600.0
"""How long a lowered estimate stands before it may grow back."""
GROWTH_SECONDS, GROWTH = 600.0, 0.02
"""It grows back by 2 % of the measurement every ten minutes."""
OTHER_MEASUREMENT = 0.25
"""Replicas that measure a quarter more or less are other replicas: the correction starts again."""


def estimate(state: State) -> float | None:
    """Tokens per second of one replica; None where nothing was ever measured or seen."""
    if state.measured_tokens_per_second is not None:
        return state.measured_tokens_per_second * state.capacity_factor
    return state.seen_tokens_per_second


def with_measurement(state: State, signals: Signals) -> State:
    """Take over what the replicas measured when they started."""
    measured = signals.measured_tokens_per_second
    if not measured:
        return state
    before = state.measured_tokens_per_second
    if before is None or abs(measured - before) <= OTHER_MEASUREMENT * before:
        # The first measurement after a restart meets the factor that was restored with it.
        return dataclasses.replace(state, measured_tokens_per_second=measured if before is None else before)
    return dataclasses.replace(state, measured_tokens_per_second=measured, capacity_factor=1.0)


def is_settled(state: State, now_seconds: float, window_seconds: float) -> bool:
    """Long enough in one state for the attainment's window to show nothing else."""
    since = state.settled_since_seconds
    return since is not None and now_seconds - since >= window_seconds


def with_load(state: State, signals: Signals, demand: float, now_seconds: float) -> State:
    """Note whether replicas came or went, or the demand was more than they can do."""
    ready, each = signals.workload.ready, estimate(state)
    disturbed = ready != state.ready or (each is not None and demand > each * ready)
    since = now_seconds if disturbed or state.settled_since_seconds is None else state.settled_since_seconds
    return dataclasses.replace(state, ready=ready, settled_since_seconds=since)


def corrected(state: State, signals: Signals, target: float, now_seconds: float, window_seconds: float) -> State:
    """The state after this look has taught what it can. `window_seconds`: of the attainment, for what was changed
    shows in it only once that has passed."""
    ready = signals.workload.ready
    if ready == 0 or not signals.whole or signals.attainment is None:
        return state
    assert signals.served_tokens_per_second is not None
    served = signals.served_tokens_per_second / ready
    each = estimate(state)
    if is_surely_below(signals, target):
        if not is_settled(state, now_seconds, window_seconds) or served <= 0:
            return state
        lower = served if each is None else min(LEAST_STEP * each, max(MOST_STEP * each, served))
        state = dataclasses.replace(state, lowered_at_seconds=now_seconds, settled_since_seconds=now_seconds)
        return _with(state, lower)
    if is_below(signals, target) or each is None:
        return state
    if served > each:
        return _raised(state, served, each, now_seconds, window_seconds)
    return _grown_back(state, now_seconds)


def _raised(state: State, served: float, each: float, now_seconds: float, window_seconds: float) -> State:
    """A little at a time: a sudden load is served before it is seen that it was not served in time."""
    if state.raised_at_seconds is not None and now_seconds - state.raised_at_seconds < window_seconds:
        return state
    state = dataclasses.replace(state, raised_at_seconds=now_seconds)
    return _with(state, min(served, MOST_RAISE * each))


def _with(state: State, each: float) -> State:
    measured = state.measured_tokens_per_second
    if measured is None:
        return dataclasses.replace(state, seen_tokens_per_second=each)
    factor = min(MOST_FACTOR, max(LEAST_FACTOR, each / measured))
    return dataclasses.replace(state, capacity_factor=factor)


def _grown_back(state: State, now_seconds: float) -> State:
    if state.measured_tokens_per_second is None or state.capacity_factor >= 1.0:
        return state
    if state.lowered_at_seconds is None:  # Restored after a restart: the hour begins now.
        return dataclasses.replace(state, lowered_at_seconds=now_seconds)
    since = max(state.lowered_at_seconds + FORGET_SECONDS - GROWTH_SECONDS, state.raised_at_seconds or 0.0)
    if now_seconds - since < GROWTH_SECONDS:
        return state
    factor = min(1.0, state.capacity_factor + GROWTH)
    return dataclasses.replace(state, capacity_factor=factor, raised_at_seconds=now_seconds)
