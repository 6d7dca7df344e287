"""What the autoscaler publishes about itself, on the operator's registry."""

from __future__ import annotations

import contextlib
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from fastgen_operator.autoscaler import Decision, Signals
from fastgen_operator.autoscaler.capacity import estimate
from fastgen_operator.key import Key

Direction = Literal["up", "down", "conflict", "error"]
_OWN = ["namespace", "name"]
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class ScalingMetrics:
    """Gauges of each deployment with autoscaling, and counters. A deployment's series end with it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, meaning: str) -> Gauge:
            made = Gauge(f"fastgen_operator_scaling_{name}", meaning, _OWN, registry=registry)
            self.gauges[name] = made
            return made

        self.gauges: dict[str, Gauge] = {}
        """By name, without the prefix."""
        gauge("desired_replicas", "Replicas the autoscaler asks for; in mode Advisory, would ask for.")
        gauge("replicas", "Replicas asked for now: spec.replicas.")
        gauge("ready_replicas", "Replicas that answer requests.")
        gauge("demand_tokens_per_second", "Tokens that arrive, and what it takes to drain the queue; NaN: not known.")
        gauge("supply_tokens_per_second", "What the replicas can do in time, pending ones included; NaN: not known.")
        gauge("capacity_tokens_per_second", "What one replica can do while it keeps the promise; NaN: not known.")
        gauge("capacity_factor", "That capacity, divided by what replicas measured when they started.")
        gauge("attainment_ratio", "Share of the requests that kept the promise; NaN: no request ended, or not known.")
        gauge("target_ratio", "The share that should: spec.sla.target.")
        gauge("signal_age_seconds", "Age of the newest sample of a balancer when it was read; NaN: there is none.")
        gauge("informed", "1 while the signals allow to decide; 0 while the autoscaler holds for want of them.")
        self.decisions = Counter(
            "fastgen_operator_scaling_decisions",
            "Looks at a deployment, by the reason of the decision (docs/autoscaling.md).",
            [*_OWN, "reason"],
            registry=registry,
        )
        self.changes = Counter(
            "fastgen_operator_scaling_changes",
            "Writes of scale, by direction: up, down; conflict where somebody was faster; error.",
            [*_OWN, "direction"],
            registry=registry,
        )
        self.queries = Histogram(
            "fastgen_operator_prometheus_query_duration_seconds",
            "How long Prometheus took to answer, failures included.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.query_errors = Counter(
            "fastgen_operator_prometheus_query_errors",
            "Queries that failed, by why: address, unreachable, timeout, redirect, refused, too_large, not_prometheus.",
            ["kind"],
            registry=registry,
        )
        self._reasons: dict[Key, set[str]] = {}

    def looked(self, key: Key, signals: Signals, decision: Decision, target: float) -> None:
        """One look is over. `target`: the share of requests that should keep the promise."""
        numbers = decision.numbers
        values = {
            "desired_replicas": decision.replicas,
            "replicas": signals.workload.replicas,
            "ready_replicas": signals.workload.ready,
            "demand_tokens_per_second": numbers.demand_tokens_per_second,
            "supply_tokens_per_second": numbers.supply_tokens_per_second,
            "capacity_tokens_per_second": estimate(decision.new_state),
            "capacity_factor": decision.new_state.capacity_factor,
            "attainment_ratio": numbers.attainment,
            "target_ratio": target,
            "signal_age_seconds": signals.age_seconds,
            "informed": int(decision.is_informed),
        }
        for name, value in values.items():
            self.gauges[name].labels(*key).set(float("nan") if value is None else value)
        self.decisions.labels(*key, decision.reason).inc()
        self._reasons.setdefault(key, set()).add(decision.reason)

    def changed(self, key: Key, direction: Direction) -> None:
        """`scale` was written, or could not be."""
        self.changes.labels(*key, direction).inc()

    def forget(self, key: Key) -> None:
        """The deployment is gone, or does not scale any more: its series end."""
        for gauge in self.gauges.values():
            with contextlib.suppress(KeyError):
                gauge.remove(*key)
        for reason in self._reasons.pop(key, ()):
            self.decisions.remove(*key, reason)
        for direction in get_args(Direction):
            with contextlib.suppress(KeyError):
                self.changes.remove(*key, direction)
