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
from fastgen_operator.autoscaler.prometheus_json import read_numbers
from fastgen_operator.autoscaler.promql import queries, question
from fastgen_operator.autoscaler.signals import SIGNAL
from fastgen_server.balancer.metrics import BalancerMetrics

NOW = 1_700_000_000.0
WORKLOAD = Workload(2, 2, 0, 2)


def answer(*, at: float = NOW, **values: str) -> dict[str, Any]:
    """What Prometheus answers: one series for each signal."""
    result = [{"metric": {SIGNAL: name}, "value": [at, value]} for name, value in values.items()]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


def two(one: str, other: str) -> dict[str, Any]:
    """Two series of one signal."""
    both = [{"metric": {SIGNAL: "x"}, "value": [NOW, value]} for value in (one, other)]
    return {"status": "success", "data": {"resultType": "vector", "result": both}}


def vector(*result: Any) -> dict[str, Any]:
    return {"status": "success", "data": {"resultType": "vector", "result": list(result)}}


@pytest.mark.parametrize(
    ("given", "value", "problem"),
    [
        (answer(x="12.5"), 12.5, None),
        (answer(x="0"), 0.0, None),
        (answer(y="3"), None, None),
        (answer(), None, None),
        (answer(x="NaN"), None, None),
        (answer(x="+Inf"), None, "x: +Inf is no amount"),
        (answer(x="-1"), None, "x: -1 is no amount"),
        (two("1", "2"), None, "x: 2 series where one was asked for"),
        (answer(x="1", at=NOW - 61), None, "another time"),
        (answer(x="1", at=NOW + 61), None, "another time"),
        (answer(x="1", at=math.nan), None, "another time"),
        (answer(x="lots"), None, "x: a sample that is no pair"),
        (vector({"metric": {SIGNAL: "x"}, "value": 3}), None, "no pair"),
        (vector({"metric": {SIGNAL: "x"}}), None, "no pair"),
        (vector({"metric": {}, "value": [NOW, "1"]}), None, "a series without the label signal"),
        (vector({"value": [NOW, "1"]}), None, "a series without the label signal"),
        (vector(3), None, "a series without the label signal"),
        ({**answer(x="4"), "warnings": ["a store was not asked"]}, 4.0, "warning: a store was not asked"),
        ({**answer(x="4"), "infos": ["metric might not be a counter"]}, 4.0, None),
        ({"status": "success", "data": {"resultType": "scalar", "result": [NOW, "3"]}}, None, "a scalar, not a vector"),
        ({"status": "success", "data": {"resultType": "matrix", "result": []}}, None, "a matrix, not a vector"),
        ({"status": "error", "errorType": "bad_data", "error": "parse error"}, None, "parse error"),
        ({"status": "success", "data": []}, None, "no result"),
        ({}, None, "no status"),
        ("<html>", None, "no JSON object"),
        (None, None, "no JSON object"),
    ],
)
def test_one_number(given: Any, value: float | None, problem: str | None) -> None:
    found = read_numbers(given, SIGNAL, NOW, 60.0)
    assert found.values.get("x") == value
    assert (not found.problems) if problem is None else problem in "; ".join(found.problems)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.sampled_from(["success", "vector"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["status", "data", "resultType", "result", "value", "metric", "warnings", SIGNAL]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)
series = st.fixed_dictionaries(
    {
        "metric": st.fixed_dictionaries({SIGNAL: st.sampled_from([*queries(live(), 120), "other"]) | json_values}),
        "value": st.tuples(st.just(NOW), st.floats().map(str)) | json_values,
    }
)
nearly = st.fixed_dictionaries(
    {
        "status": st.just("success"),
        "data": st.fixed_dictionaries(
            {"resultType": st.just("vector"), "result": st.lists(series | json_values, max_size=4)}
        ),
    }
)


@settings(max_examples=200, deadline=None)
@given(json_values | nearly)
def test_whatever_comes_back_is_understood_or_unknown(given: Any) -> None:
    found = read_signals(given, WORKLOAD, NOW)
    assert not found.whole
    for name in queries(live(), 120):
        value = getattr(found, name)
        assert value is None or (math.isfinite(value) and value >= 0)


NOT_NEEDED = {
    "calibration", "tokens_per_request", "measured_tokens_per_second", "waiting_tokens", "recent_requests",
    "recent_effective_requests",
}  # fmt: skip
"""What need not be known to take a replica away."""


def good(**changed: str | None) -> dict[str, Any]:
    known = dict.fromkeys(queries(live(), 120), "1") | {"balancers_seen": "2", "replicas_seen": "2", "age_seconds": "4"}
    return answer(**{name: value for name, value in (known | changed).items() if value is not None})


def test_good_answers_are_whole() -> None:
    found = read_signals(good(), WORKLOAD, NOW)
    assert found.whole
    assert found.blindness is None
    assert found == Signals(WORKLOAD, *([1.0] * 13), balancers_seen=2, replicas_seen=2, age_seconds=4.0)


@pytest.mark.parametrize("name", sorted(set(queries(live(), 120)) - NOT_NEEDED))
def test_any_number_that_is_missing_leaves_the_whole_unknown(name: str) -> None:
    assert not read_signals(good(**{name: None}), WORKLOAD, NOW).whole
    lying = read_signals(good(**{name: "-3"}), WORKLOAD, NOW)
    assert not lying.whole
    assert lying.problems == (f"{name}: -3 is no amount",)


def test_an_answer_with_a_warning_is_not_the_whole() -> None:
    found = read_signals({**good(), "warnings": ["no store for the last hour"]}, WORKLOAD, NOW)
    assert (found.blindness, found.whole) == (None, False)


def test_why_prometheus_did_not_answer_is_said() -> None:
    failed = Signals(WORKLOAD, failure="http://prometheus:9090 cannot be reached")
    assert failed.blindness == ("PrometheusUnavailable", "http://prometheus:9090 cannot be reached")
    assert not failed.whole


def test_stale_samples_are_said_to_be_stale() -> None:
    found = read_signals(good(age_seconds="75"), WORKLOAD, NOW)
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

    for name, query in queries(live(sla={"generationTokensPerSecond": 6}), 120).items():
        used = re.findall(r"(fastgen_\w+)\{([^}]*)\}", query)
        assert used, name
        for metric, selector in used:
            assert metric in names, query
            assert selector.startswith('namespace="models",fastgen_dev_deployment="llama"'), query
    assert 'generation_rate="6"' in queries(live(sla={"generationTokensPerSecond": 6}), 120)["effective_requests"]


def test_the_windows_follow_the_manifest() -> None:
    windows = {part.split("]")[0] for part in question(live(), 120).split("[")[1:]}
    assert windows == {"60s", "120s", "300s"}
    assert "[10s]" in question(live(), 20)


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
