"""Who is told what, and how often."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from scaling_looks import RULES, settled, signals

from fastgen_operator.autoscaler import Decision, Signals, decide
from fastgen_operator.key import Key
from fastgen_operator.scaling import ScalingMetrics, announcement, published
from fastgen_operator.scaling.published import Publisher

KEY = Key("models", "llama")


def decided(demand: float = 1500.0, replicas: int = 2, **more: Any) -> Decision:
    return decide(signals(replicas, demand, **more), settled(replicas), 0.0, RULES)


BLIND = decide(Signals(signals().workload, failure="Prometheus is away"), settled(2), 0.0, RULES)


@pytest.mark.parametrize(
    ("decision", "previous", "active", "kind", "reason", "words"),
    [
        (decided(5000), 2, True, "Normal", "ScaledUp", "from 2 to 6 replicas: demand 5000 tokens/s"),
        (decided(5000), 2, True, "Normal", "ScaledUp", "(DemandAboveCapacity)"),
        (decided(5000), 8, True, "Normal", "ScaledDown", "from 8 to 6 replicas"),
        (decided(5000), 2, False, "Normal", "Advisory", "would scale from 2 to 6 replicas"),
        (decided(), 2, True, "Normal", "MetricsSeen", "sees again"),
        (BLIND, 7, True, "Normal", "ScaledDown", "from 7 to 2 replicas: Prometheus is away"),
        (BLIND, 2, True, "Warning", "PrometheusUnavailable", "cannot see: Prometheus is away; staying at 2 replicas"),
    ],
)
def test_announcements(decision: Decision, previous: int, active: bool, kind: str, reason: str, words: str) -> None:
    said = announcement(decision, previous, active=active)
    assert (said.type, said.reason) == (kind, reason)
    assert words in said.message


def test_the_reconciler_is_woken_by_words_at_once_and_by_numbers_once_in_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    woken: list[Key] = []
    publisher = Publisher(woken.append)

    def wakes(decision: Decision) -> bool:
        woken.clear()
        publisher.publish(KEY, decision)
        return woken == [KEY]

    assert wakes(decided(1500))
    assert not wakes(decided(1500))
    assert not wakes(decided(1600))  # Soon after; nothing that people act on.
    assert wakes(decided(5000))
    assert wakes(BLIND)
    assert not wakes(BLIND)
    assert wakes(decided(1500))
    monkeypatch.setattr(published, "NUMBERS_SECONDS", 0.0)
    assert not wakes(decided(1503))  # 1500 to two digits
    assert wakes(decided(1600))
    publisher.forget(KEY)
    assert wakes(decided(1600))


def test_unknown_numbers_are_no_number_and_a_deployment_leaves_no_series() -> None:
    registry = CollectorRegistry()
    metrics = ScalingMetrics(registry)
    own = {"namespace": "models", "name": "llama"}

    def value(name: str, **more: str) -> float | None:
        return registry.get_sample_value(f"fastgen_operator_scaling_{name}", own | more)

    metrics.looked(KEY, Signals(signals().workload, failure="away"), BLIND, 0.99)
    demand = value("demand_tokens_per_second")
    assert demand is not None
    assert demand != demand  # NaN
    metrics.looked(KEY, signals(), decided(5000), 0.99)
    metrics.changed(KEY, "up")
    assert (value("demand_tokens_per_second"), value("supply_tokens_per_second")) == (5000, 2000)
    assert (value("desired_replicas"), value("signal_age_seconds")) == (6, 5)
    assert value("decisions_total", reason="PrometheusUnavailable") == 1
    metrics.forget(KEY)
    metrics.forget(KEY)
    assert [sample for family in registry.collect() for sample in family.samples if sample.labels.get("name")] == []
