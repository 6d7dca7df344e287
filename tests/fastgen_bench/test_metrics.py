"""The arithmetic, against numpy, pandas and numbers worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fastgen_bench.metrics import peak_concurrency, summarize
from fastgen_bench.records import RequestRecord, spread_tokens
from fastgen_bench.report import write_json


def record(index: int, due: float, first: float, gaps: list[float], **more: object) -> RequestRecord:
    times = list(np.cumsum([due + first, *gaps]))
    made = RequestRecord(index, due, due, times[-1], times, [1] * len(times), 100, len(times), "length")
    for name, value in more.items():
        setattr(made, name, value)
    return made


@pytest.fixture
def random_records() -> list[RequestRecord]:
    rng = np.random.default_rng(7)
    return [
        record(i, float(rng.uniform(0, 5)), float(rng.uniform(0.05, 0.4)), list(rng.exponential(0.15, 30)))
        for i in range(200)
    ]


def test_definitions_by_hand() -> None:
    records = [
        record(0, 0.0, 0.1, [0.2, 0.4], prompt_tokens=10),
        record(1, 1.0, 0.3, [], prompt_tokens=20),
        record(2, 0.5, 0.1, [0.1], error="HTTP 503: queue full"),
    ]
    got = summarize(records, clients=2)
    assert got["duration"] == pytest.approx(1.3)
    assert (got["completed"], got["failed"]) == (2, 1)
    assert got["request_throughput"] == pytest.approx(2 / 1.3)
    assert got["output_throughput"] == pytest.approx(4 / 1.3)
    assert got["total_token_throughput"] == pytest.approx(34 / 1.3)
    assert got["mean_ttft_ms"] == pytest.approx(200)
    assert got["mean_e2el_ms"] == pytest.approx(500)
    assert got["median_itl_ms"] == pytest.approx(300)
    assert got["mean_tpot_ms"] == pytest.approx(300)  # one token has no time per output token
    assert got["mii_throughput"] == pytest.approx(2 / 0.5)
    assert got["errors_by_kind"] == {"HTTP 503: queue full": 1}


def test_percentiles_are_numpys(random_records: list[RequestRecord]) -> None:
    got = summarize(random_records, clients=1)
    gaps = np.concatenate([np.diff(r.chunk_seconds) for r in random_records]) * 1000
    for name in (90, 95, 99):
        assert got[f"p{name}_itl_ms"] == pytest.approx(np.percentile(gaps, name))
    assert got["std_itl_ms"] == pytest.approx(gaps.std())
    assert got["median_itl_ms"] == pytest.approx(np.median(gaps))


def test_effective_throughput_is_the_papers(random_records: list[RequestRecord]) -> None:
    got = summarize(random_records, rate=2.0)
    for rate in (2, 4, 6):
        passed = 0
        for r in random_records:
            ema = pd.Series(np.diff(r.chunk_seconds)).ewm(span=16).mean()
            first_in_time = r.chunk_seconds[0] - r.due_seconds <= r.prompt_tokens / 512
            passed += bool(first_in_time and (ema < 1 / rate).all())
        assert 0 < passed < 200, "the case must be able to tell right from wrong"
        assert got["effective_throughput"][f"{rate}"] == pytest.approx(passed / got["duration"])
        assert got["effective_share"][f"{rate}"] == pytest.approx(passed / 200)
    assert got["request_goodput"] == got["effective_throughput"]["4"]


def test_a_failure_is_never_effective_even_when_its_tokens_were_in_time() -> None:
    good, failed = record(0, 0, 0.01, [0.01]), record(1, 0, 0.01, [0.01], error="the stream broke off")
    assert summarize([good, failed], clients=1)["effective_share"] == {"2": 0.5, "4": 0.5, "6": 0.5}


def test_waiting_before_sending_counts() -> None:
    """An open loop's request that was due at 0 but sent at 1 has waited that second."""
    late = record(0, 0.0, 1.01, [0.01], sent_seconds=1.0)
    got = summarize([late], rate=1.0)
    assert got["mean_ttft_ms"] == pytest.approx(1010)
    assert got["mean_send_delay_ms"] == pytest.approx(1000)
    assert got["effective_share"]["2"] == 0.0


def test_without_streaming_nobody_knows_what_was_effective() -> None:
    whole = RequestRecord(0, 0.0, 0.0, 1.0, [], [], 10, 5, "stop", server_effective=True)
    got = summarize([whole], clients=1)
    assert got["effective_throughput"] == {"2": None, "4": None, "6": None}
    assert got["mean_ttft_ms"] is None
    assert got["effective_throughput_by_server"] == pytest.approx(1.0)


def test_nothing_measured_still_makes_a_file(tmp_path: Path) -> None:
    path = write_json(tmp_path / "empty.json", {"points": [summarize([], clients=1)]})
    assert json.loads(path.read_text())["points"][0]["request_throughput"] == 0.0


def test_tokens_of_one_piece_come_together() -> None:
    assert spread_tokens(7, [1, 1, 1]) == [2, 2, 3]
    assert spread_tokens(2, [1, 1, 1]) == [1, 1, 1]
    pieces = record(0, 0.0, 0.1, [0.3, 0.3], chunk_tokens=[2, 2, 2])
    assert pieces.token_seconds == pytest.approx([0.1, 0.1, 0.4, 0.4, 0.7, 0.7])


def test_peak_concurrency() -> None:
    spans = [(0, 2), (1, 3), (2, 4), (5, 6)]
    assert peak_concurrency([RequestRecord(i, a, a, b) for i, (a, b) in enumerate(spans)]) == 2
