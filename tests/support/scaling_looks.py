"""What the autoscaler sees of a healthy deployment, and what it remembers of a quiet while."""

from __future__ import annotations

from typing import Any

from fastgen_operator.autoscaler import Rules, Signals, State, Workload
from fastgen_operator.autoscaler.state import Recommendation

EACH = 1000.0
"""Tokens per second that one replica measured."""
RULES = Rules(1, 8, 0.99)
"""Of every test that does not say otherwise."""
TICK = 15.0
"""Seconds between two looks."""


def signals(replicas: int = 2, demand: float = 1500.0, **more: Any) -> Signals:
    """A healthy deployment: everything known, promises kept."""
    workload = {"ready": replicas, "late": 0, "balancers": 2} | more.pop("workload", {})
    ready = workload["ready"]
    known: dict[str, Any] = {
        "offered_tokens_per_second": demand, "tokens_per_request": 500.0, "held_requests": 0.0,
        "waiting_requests": 0.0, "waiting_tokens": 0.0, "served_tokens_per_second": min(demand, EACH * ready),
        "requests": 1000.0, "effective_requests": 1000.0, "measured_tokens_per_second": EACH, "kv_usage": 0.3,
        "balancers_seen": 2, "replicas_seen": ready, "age_seconds": 5.0,
    }  # fmt: skip
    return Signals(Workload(replicas, **workload), **(known | more))


def settled(replicas: int, wanted: int | None = None, seconds: float = 900.0, **more: Any) -> State:
    """Memory of a quiet while in which each look wanted `wanted` replicas."""
    ticks = int(seconds / TICK)
    history = tuple(Recommendation(i * TICK - seconds, wanted or replicas) for i in range(ticks))
    return State(ready=replicas, settled_since_seconds=-seconds, recommendations=history, **more)
