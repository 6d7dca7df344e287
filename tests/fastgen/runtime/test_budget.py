"""The token budget: the knee of a measured curve, capped by the promise."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastgen.runtime.budget import StepTime, choose_budget, measure_curve, measured_budget


def curve(*seconds: float) -> list[StepTime]:
    return [StepTime(2 ** (4 + index), value) for index, value in enumerate(seconds)]


def test_the_knee_is_the_smallest_step_near_the_best_throughput() -> None:
    # 16 to 256 tokens: throughput doubles, doubles, then gains 6 %, then nothing.
    chosen = choose_budget(curve(0.010, 0.010, 0.011, 0.0205, 0.041), promise_seconds=1.0)
    assert chosen.num_tokens == 64
    assert chosen.capacity_tokens_per_second == pytest.approx(64 / 0.011)
    assert "the knee" in chosen.reason


def test_the_promise_caps_the_budget() -> None:
    chosen = choose_budget(curve(0.010, 0.015, 0.025, 0.045, 0.08), promise_seconds=0.04)
    assert chosen.num_tokens == 64
    assert "promised 0.04 s gap" in chosen.reason


def test_a_machine_too_slow_for_the_promise_says_so_and_takes_the_knee() -> None:
    chosen = choose_budget(curve(2.0, 2.1, 4.2), promise_seconds=0.25)
    assert chosen.num_tokens == 32
    assert "no step keeps the promised 0.25 s gap here" in chosen.reason


def test_a_slow_start_does_not_hide_the_knee() -> None:
    sizes: list[int] = []
    measure_curve(sizes.append, most_tokens=4096, promise_seconds=0.0)
    assert max(sizes) == 64


def test_measuring_stops_at_the_longest_step() -> None:
    sizes: list[int] = []
    measured = measure_curve(sizes.append, most_tokens=100, promise_seconds=10.0)
    assert max(sizes) == 96
    assert [point.num_tokens for point in measured] == sorted({*sizes})


def test_a_curve_is_measured_once_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "curve.json"
    runs: list[int] = []
    first = measured_budget(runs.append, 64, 1.0, file, is_busy=lambda: False)
    num_runs = len(runs)
    assert num_runs > 0
    assert measured_budget(runs.append, 64, 1.0, file, is_busy=lambda: False) == first
    assert len(runs) == num_runs


def test_a_damaged_cache_file_is_measured_again(tmp_path: Path) -> None:
    file = tmp_path / "curve.json"
    file.write_text('{"not": "a curve"}')
    runs: list[int] = []
    measured_budget(runs.append, 64, 1.0, file, is_busy=lambda: False)
    assert runs


def test_what_a_busy_machine_gave_is_not_kept(tmp_path: Path) -> None:
    file = tmp_path / "curve.json"
    measured_budget(lambda num_tokens: None, 64, 1.0, file, is_busy=lambda: True)
    assert not file.exists()
