"""The counters' arithmetic: totals that restart, work that is offered, names the field knows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scripted_backend import INFO

from fastgen.contract.metrics import REPLICA_METRICS
from fastgen.core.events import StepStats
from fastgen.core.sampling_params import SamplingParams
from fastgen.core.sla import Sla
from fastgen_server.metrics import ServerMetrics
from fastgen_server.settings import ServerConfig

STEP = StepStats(
    num_running=3,
    num_waiting=2,
    waiting_tokens=70,
    kv_used_blocks=256,
    kv_total_blocks=1024,
    step_tokens=48,
    step_decode_tokens=3,
    token_budget=64,
    step_seconds=0.02,
    num_preempted=1,
    prefix_query_tokens=100,
    prefix_hit_tokens=40,
)


@pytest.fixture
def metrics() -> ServerMetrics:
    return ServerMetrics("m", INFO, Sla())


def value(metrics: ServerMetrics, name: str, **labels: str) -> float:
    found = metrics.registry.get_sample_value(name, {"model_name": "m", **labels})
    assert found is not None, name
    return found


def test_totals_that_the_engine_keeps_are_followed_over_its_restarts(metrics: ServerMetrics) -> None:
    metrics.step(STEP)
    metrics.step(STEP._replace(prefix_query_tokens=150, prefix_hit_tokens=40, num_preempted=1))
    assert value(metrics, "fastgen_prefix_cache_queries_total") == 150
    assert value(metrics, "fastgen_prefix_cache_hits_total") == 40
    restarted = STEP._replace(prefix_query_tokens=10, prefix_hit_tokens=0, num_preempted=0)
    metrics.step(restarted)
    assert value(metrics, "fastgen_prefix_cache_queries_total") == 160
    assert value(metrics, "fastgen_num_preemptions_total") == 1


def test_a_step_shows_its_fill_and_the_state_after_it(metrics: ServerMetrics) -> None:
    metrics.step(STEP)
    assert value(metrics, "fastgen_num_requests_running") == 3
    assert value(metrics, "fastgen_num_requests_waiting") == 2
    assert value(metrics, "fastgen_kv_cache_usage_perc") == 0.25
    assert value(metrics, "fastgen_waiting_tokens") == 70
    assert value(metrics, "fastgen_step_fill_ratio_sum") == 0.75
    assert value(metrics, "fastgen_iteration_tokens_total_sum") == 48
    metrics.step(STEP._replace(step_tokens=0, num_running=0))
    assert value(metrics, "fastgen_step_fill_ratio_count") == 1
    assert value(metrics, "fastgen_num_requests_running") == 0


def test_a_dead_engine_runs_nothing(metrics: ServerMetrics) -> None:
    metrics.step(STEP)
    metrics.engine(replace(INFO, capacity_tokens_per_second=99.0), up=False, ready=False)
    assert value(metrics, "fastgen_num_requests_running") == 0
    assert value(metrics, "fastgen_kv_cache_usage_perc") == 0
    assert value(metrics, "fastgen_engine_up") == 0
    assert value(metrics, "fastgen_capacity_tokens_per_second") == 99


@pytest.mark.parametrize(
    ("params", "expected_tokens"),
    [
        (SamplingParams(max_new_tokens=50), 100 + 50),
        (SamplingParams(max_new_tokens=1000), 100 + 128),
        (SamplingParams(max_new_tokens=1000, ignore_eos=True), 100 + 1000),
        (SamplingParams(n=3), 100 + 3 * 128),
    ],
)
def test_offered_work_is_the_prompt_and_the_answer_to_expect(
    metrics: ServerMetrics, params: SamplingParams, expected_tokens: float
) -> None:
    """128 is expected before any answer has been seen."""
    metrics.offered([100], params)
    assert value(metrics, "fastgen_offered_tokens_total") == expected_tokens


def test_counters_exist_before_anything_has_happened(metrics: ServerMetrics) -> None:
    """So that rates and ratios do too, from the first scrape."""
    for metric in REPLICA_METRICS:
        if metric.kind == "counter" and not metric.labels:
            assert value(metrics, metric.sample) == 0
    for rate in ("2", "4", "6"):
        assert value(metrics, "fastgen_effective_requests_total", generation_rate=rate) == 0


def test_both_exposition_formats(metrics: ServerMetrics) -> None:
    text, kind = metrics.render("text/plain")
    assert kind.startswith("text/plain")
    assert b'fastgen_requests_total{model_name="m"} 0.0' in text
    assert b"_created" not in text
    openmetrics, kind = metrics.render("application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    assert openmetrics.endswith(b"# EOF\n")


@pytest.mark.parametrize(
    ("model", "name"),
    [("models/guide", "guide"), ("models/guide/", "guide"), ("meta-llama/Llama-2-7b", "Llama-2-7b"), ("/", "/")],
)
def test_a_model_is_named_by_the_end_of_its_path(model: str, name: str) -> None:
    assert ServerConfig().served_name(model) == name
    assert ServerConfig(model_name="mine").served_name(model) == "mine"
