"""From Prometheus' answers to signals: nothing unknown is ever taken for 0."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from live_objects import live

from fastgen.contract.metrics import REPLICA_METRICS
from fastgen_operator.autoscaler import Signals, State, Workload, read_signals
from fastgen_operator.autoscaler.demand import wilson_upper
from fastgen_operator.autoscaler.prometheus_json import read_number
from fastgen_operator.autoscaler.promql import queries
from fastgen_server.balancer.metrics import BalancerMetrics

NOW = 1_700_000_000.0
WORKLOAD = Workload(2, 2, 0, 2)


def vector(*values: str, at: float = NOW) -> dict[str, Any]:
    result = [{"metric": {"pod": str(i)}, "value": [at, value]} for i, value in enumerate(values)]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


@pytest.mark.parametrize(
    ("answer", "value", "problem"),
    [
        (vector("12.5"), 12.5, None),
        (vector("0"), 0.0, None),
        ({"status": "success", "data": {"resultType": "scalar", "result": [NOW, "3"]}}, 3.0, None),
        (vector(), None, None),
        (vector("NaN"), None, None),
        (vector("+Inf"), None, "no amount"),
        (vector("-1"), None, "no amount"),
        (vector("1", "2"), None, "2 series where one was asked for"),
        (vector("1", at=NOW - 61), None, "another time"),
        (vector("1", at=NOW + 61), None, "another time"),
        (vector("1", at=math.nan), None, "another time"),
        (vector("lots"), None, "no pair"),
        ({"status": "error", "errorType": "bad_data", "error": "parse error"}, None, "parse error"),
        ({"status": "success", "data": {"resultType": "matrix", "result": []}}, None, "a matrix"),
        ({"status": "success", "data": {"resultType": "vector", "result": [3]}}, None, "no pair"),
        ({"status": "success", "data": []}, None, "no result"),
        ({}, None, "no status"),
        ("<html>", None, "no JSON object"),
        (None, None, "no answer"),
    ],
)
def test_one_answer(answer: Any, value: float | None, problem: str | None) -> None:
    found = read_number(answer, NOW, 60.0)
    assert found.value == value
    assert (found.problem is None) if problem is None else problem in (found.problem or "")


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.sampled_from(["success", "vector"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["status", "data", "resultType", "result", "value"]), inner, max_size=4)
    ),
    max_leaves=10,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(queries(live()))), json_values))
def test_whatever_comes_back_is_understood_or_unknown(answers: dict[str, Any]) -> None:
    found = read_signals(answers, WORKLOAD, NOW)
    assert not found.whole
    assert found.blindness is not None


def good() -> dict[str, Any]:
    values = dict.fromkeys(queries(live()), "1") | {"balancers_seen": "2", "replicas_seen": "2", "age_seconds": "4"}
    return {name: vector(value) for name, value in values.items()}


def test_good_answers_are_whole() -> None:
    found = read_signals(good(), WORKLOAD, NOW)
    assert found.whole
    assert found.blindness is None
    assert found == Signals(WORKLOAD, *([1.0] * 10), balancers_seen=2, replicas_seen=2, age_seconds=4.0)


@pytest.mark.parametrize(
    "name", sorted(set(queries(live())) - {"calibration", "tokens_per_request", "measured_tokens_per_second"})
)
def test_any_answer_that_is_missing_leaves_the_whole_unknown(name: str) -> None:
    assert not read_signals({**good(), name: vector()}, WORKLOAD, NOW).whole
    broken = read_signals({**good(), name: {"status": "error", "error": "timeout"}}, WORKLOAD, NOW)
    assert not broken.whole
    assert broken.problems == (f"{name}: timeout",)


def test_stale_samples_are_said_to_be_stale() -> None:
    found = read_signals({**good(), "age_seconds": vector("75")}, WORKLOAD, NOW)
    assert found.blindness is not None
    assert found.blindness[0] == "MetricsStale"


def test_every_query_asks_for_metrics_that_exist_and_only_for_this_deployment() -> None:
    names = {metric.sample for metric in REPLICA_METRICS}
    names |= {
        sample.name
        for family in BalancerMetrics().registry.collect()
        for sample in [*family.samples, *([] if family.type != "counter" else [_Name(f"{family.name}_total")])]
    }
    import re

    for name, query in queries(live(sla={"generationTokensPerSecond": 6})).items():
        used = re.findall(r"(fastgen_\w+)\{([^}]*)\}", query)
        assert used, name
        for metric, selector in used:
            assert metric in names, query
            assert selector.startswith('namespace="models",fastgen_dev_deployment="llama"'), query
    assert 'generation_rate="6"' in queries(live(sla={"generationTokensPerSecond": 6}))["effective_requests"]


class _Name:
    def __init__(self, name: str) -> None:
        self.name = name


def test_few_requests_say_little() -> None:
    assert wilson_upper(0.9, 10) == pytest.approx(0.982, abs=0.001)
    assert wilson_upper(0.98, 50) > 0.99
    assert wilson_upper(0.9, 100) < 0.95


@pytest.mark.parametrize(("text", "factor"), [("0.8", 0.8), (None, 1.0), ("x", 1.0), ("nan", 1.0), ("-1", 1.0)])
def test_what_status_remembers_is_read_with_care(text: str | None, factor: float) -> None:
    from fastgen.contract.status import AutoscalingStatus

    assert State.restored(AutoscalingStatus(desired_replicas=1, capacity_factor=text)).capacity_factor == factor
    assert State.restored(None) == State()
