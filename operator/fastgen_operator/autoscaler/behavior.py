"""Patience and speed of scaling: the windows and policies of a HorizontalPodAutoscaler (autoscaling/v2). Pure.

https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#configurable-scaling-behavior
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from fastgen.contract.autoscaling import ScalingPolicy, ScalingRules
from fastgen_operator.autoscaler.state import Change, Recommendation

UP_WINDOW_SECONDS = 0
DOWN_WINDOW_SECONDS = 300
"""Where the manifest does not say, as in a HorizontalPodAutoscaler."""
MAX_GAP_SECONDS = 90.0
"""A longer silence between two looks is not "it held for the whole window"."""
KEPT_SECONDS = 3600.0 + MAX_GAP_SECONDS
"""The longest window and period that a manifest may ask for."""


def remember(history: Sequence[Recommendation], now_seconds: float, replicas: int) -> tuple[Recommendation, ...]:
    """The history with one more recommendation; what is too old, or before a gap, is forgotten."""
    if history and now_seconds - history[-1].at_seconds > MAX_GAP_SECONDS:
        history = ()
    kept = [old for old in history if now_seconds - old.at_seconds <= KEPT_SECONDS]
    return (*kept, Recommendation(now_seconds, replicas))


def stabilized(history: Sequence[Recommendation], current: int, up: ScalingRules, down: ScalingRules) -> int:
    """The recommendation that held: for up, the least of its window; for down, the most of its window, once the
    history reaches back over all of it. `history` ends with the present recommendation."""
    now_seconds, wanted = history[-1]
    if wanted > current:
        return max(current, min(_within(history, now_seconds - _window(up, UP_WINDOW_SECONDS))))
    window = _window(down, DOWN_WINDOW_SECONDS)
    if wanted == current or history[0].at_seconds > now_seconds - window:
        return current
    return min(current, max(_within(history, now_seconds - window)))


def _window(rules: ScalingRules, default_seconds: int) -> int:
    given = rules.stabilization_window_seconds
    return default_seconds if given is None else given


def _within(history: Sequence[Recommendation], since_seconds: float) -> list[int]:
    return [old.replicas for old in history if old.at_seconds >= since_seconds]


def limited(
    wanted: int, current: int, changes: Sequence[Change], now_seconds: float, up: ScalingRules, down: ScalingRules
) -> int:
    """As far towards `wanted` as the policies of its direction allow now."""
    rules = up if wanted > current else down
    if wanted == current or rules.select_policy == "Disabled":
        return current
    if not rules.policies:
        return wanted
    bounds = [
        _bound(policy, _start(policy, current, changes, now_seconds), wanted > current) for policy in rules.policies
    ]
    if wanted > current:
        return max(current, min(wanted, max(bounds) if rules.select_policy == "Max" else min(bounds)))
    return min(current, max(wanted, min(bounds) if rules.select_policy == "Max" else max(bounds)))


def _start(policy: ScalingPolicy, current: int, changes: Sequence[Change], now_seconds: float) -> int:
    """Replicas at the start of the policy's period."""
    since = now_seconds - policy.period_seconds
    return current - sum(change.delta for change in changes if change.at_seconds > since)


def _bound(policy: ScalingPolicy, start: int, is_up: bool) -> int:
    """The farthest one policy allows to go from where its period started."""
    if policy.type == "Pods":
        return start + policy.value if is_up else start - policy.value
    if is_up:  # At least one, or a share of nothing would keep a sleeping model asleep.
        return max(start + 1, math.ceil(start * (100 + policy.value) / 100))
    return max(0, math.floor(start * (100 - policy.value) / 100))
