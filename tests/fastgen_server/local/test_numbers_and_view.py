"""Counters of processes that come and go, and what a person sees of them."""

from __future__ import annotations

import dataclasses
import io

import pytest
from rich.console import Console

from fastgen.contract import metrics
from fastgen_server.local.numbers import Totals, parse_samples, total
from fastgen_server.local.observer import EffectiveRatio, ProcessNumbers, Snapshot
from fastgen_server.local.view import plain_line, render

ENDED = metrics.REQUESTS.sample
KEPT = metrics.EFFECTIVE_REQUESTS.sample


def exposition(ended: float, kept: float) -> str:
    return (
        f'# TYPE {metrics.REQUESTS.name} counter\n{ENDED}{{model_name="m"}} {ended}\n'
        f"# TYPE {metrics.EFFECTIVE_REQUESTS.name} counter\n"
        f'{KEPT}{{model_name="m",generation_rate="4"}} {kept}\n'
        f'fastgen_num_requests_running{{model_name="m"}} 2\n'
    )


def test_samples_are_read_and_summed_over_their_series() -> None:
    samples = parse_samples('a{x="1",y="1"} 2\na{x="1",y="2"} 3\na{x="2"} 4\n')
    assert (total(samples, "a"), total(samples, "a", x="1"), total(samples, "b")) == (9, 5, None)


def test_totals_go_on_through_a_restart() -> None:
    totals = Totals()
    totals.add("replica-0", 10, parse_samples(exposition(5, 4)))
    totals.add("replica-1", 11, parse_samples(exposition(7, 7)))
    totals.add("replica-0", 12, parse_samples(exposition(1, 0)))  # a new process counts from nothing
    totals.add("replica-0", 12, parse_samples(exposition(3, 2)))
    assert (totals.count(ENDED), totals.count(KEPT, generation_rate="4")) == (15, 13)
    assert totals.count(ENDED, "replica-0") == 8
    assert list(totals.values_of(KEPT, "generation_rate")) == ["4"]


def test_rates_are_those_of_the_last_seconds() -> None:
    totals = Totals()
    for second, ended in enumerate([0, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 120]):
        totals.add("replica-0", 10, parse_samples(exposition(ended, ended / 2)))
        totals.mark(float(second))
    assert totals.rate(ENDED) == pytest.approx(20 / 10)
    assert totals.gain(KEPT, 60.0, generation_rate="4") == (60, 12)


def test_no_history_is_no_rate() -> None:
    totals = Totals()
    assert totals.rate(ENDED) == 0.0
    totals.mark(1.0)
    assert totals.rate(ENDED) == 0.0


SNAPSHOT = Snapshot(
    name="llama",
    model="file://./models/guide",
    state="degraded",
    http="127.0.0.1:8080",
    grpc="127.0.0.1:8081",
    replicas=(
        ProcessNumbers("replica-0", "ready", 41, "127.0.0.1:5001", 0, 0.0, 3, 1, 0.25, 0.875, 128, 1234.5),
        ProcessNumbers("replica-1", "waiting", None, "", 2, 4.0),
    ),
    balancer=ProcessNumbers("balancer", "ready", 40, "127.0.0.1:8080", 0, 0.0),
    requests=60,
    requests_per_second=2.25,
    tokens_per_second=99.6,
    retries=1,
    held=2,
    effective=(EffectiveRatio("2", 1.0, 0.995), EffectiveRatio("4", 0.5, None)),
)


def shown(snapshot: Snapshot) -> list[str]:
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(render(snapshot))
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_the_live_view_shows_replicas_load_and_promise_in_80_columns() -> None:
    lines = shown(SNAPSHOT)
    assert lines[0] == "llama  file://./models/guide  degraded"
    assert lines[1] == "balancer ready   http://127.0.0.1:8080/v1   grpc://127.0.0.1:8081"
    row = next(line for line in lines if line.startswith("replica-0"))
    assert row.split() == ["replica-0", "ready", "41", "5001", "3", "1", "25%", "88%", "of", "128", "1,234", "0"]
    row = next(line for line in lines if line.startswith("replica-1"))
    assert row.split() == ["replica-1", "back", "in", "4", "s", "–", "–", "–", "–", "–", "–", "–", "2"]
    assert "60 requests so far, 2.2/s; 100 tokens generated/s; 2 held; 1 tried again" in lines
    assert "  100% (100%) at 2 tokens/s" in lines
    assert "   50% (–) at 4 tokens/s" in lines


def test_before_any_request_nothing_is_claimed() -> None:
    empty = dataclasses.replace(SNAPSHOT, effective=(EffectiveRatio("2", None, None),), requests=0)
    assert "no request has ended yet" in shown(empty)
    assert "effective" not in plain_line(empty)


def test_without_a_terminal_it_is_one_line() -> None:
    assert plain_line(SNAPSHOT) == (
        "llama degraded: 1/2 replicas · running 3 · waiting 3 · step fill 88% · 2.2 requests/s · "
        "100 generated tokens/s · restarts 2 · effective 100% at 2/s, 50% at 4/s"
    )
