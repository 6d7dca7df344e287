"""Demand, and whether promises are kept: arithmetic on signals. docs/autoscaling.md explains each formula."""

from __future__ import annotations

import math

from fastgen_operator.autoscaler.signals import Signals
from fastgen_operator.autoscaler.state import State

QUEUE_DRAIN_SECONDS = 30.0
"""How fast a queue should be worked off, beside what arrives."""
CALIBRATION_BOUNDS = (0.05, 2.0)
"""Beyond these the estimate and the count speak of different requests."""
CONFIDENCE = 1.96
"""Standard deviations of a 95 % interval."""


def calibration(signals: Signals, state: State) -> float:
    """Tokens counted for each token estimated: as seen now, else as last seen."""
    least, most = CALIBRATION_BOUNDS
    found = signals.calibration if signals.calibration is not None else state.calibration
    return min(most, max(least, found))


def demand_tokens_per_second(signals: Signals, factor: float) -> float:
    """What arrives, and what it takes to drain the queue in time. `signals` are not blind."""
    assert signals.offered_tokens_per_second is not None
    each = factor * (signals.tokens_per_request or 0.0)
    held = (signals.held_requests or 0.0) * each
    # Two views of one queue: requests not yet admitted, and tokens not yet computed of prompts that were.
    queued = max((signals.waiting_requests or 0.0) * each, signals.waiting_tokens or 0.0)
    return factor * signals.offered_tokens_per_second + (held + queued) / QUEUE_DRAIN_SECONDS


def is_idle(signals: Signals) -> bool:
    """Nothing arrives, waits, or runs."""
    values = [signals.offered_tokens_per_second, signals.held_requests]
    if signals.workload.ready > 0:
        values += [signals.waiting_requests, signals.served_tokens_per_second]
    return all(value == 0 for value in values)


def is_below(signals: Signals, target: float) -> bool:
    """The share of effective requests is below target."""
    attainment = signals.attainment
    return attainment is not None and attainment < target


def is_surely_below(signals: Signals, target: float) -> bool:
    """It is below even at the upper end of what so few requests allow to say (Wilson's interval), and still is: what
    was late long ago, or waited in a queue that is gone, says nothing of what the replicas can do now."""
    attainment, recent = signals.attainment, signals.recent_attainment
    if attainment is None or attainment >= target or (recent is not None and recent >= target):
        return False
    return wilson_upper(attainment, signals.requests or 0.0) < target


def wilson_upper(share: float, count: float) -> float:
    """The upper end of Wilson's 95 % interval for a share seen in `count` trials."""
    if count < 1:
        return 1.0
    z2 = CONFIDENCE**2
    middle = share + z2 / (2 * count)
    spread = CONFIDENCE * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    return min(1.0, (middle + spread) / (1 + z2 / count))
