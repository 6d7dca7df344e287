"""The token budget: the knee of a measured curve, capped by the promise."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastgen.runtime.budget import (
    MOST_STEADY_SECONDS,
    StepTime,
    choose_budget,
    measure_curve,
    measured_budget,
    sustained_tokens_per_second,
)


class Machine:
    """Runs steps at 1000 tokens/s, in time of its own; beyond `quota` seconds of each tenth, it pauses."""

    def __init__(self, quota: float = 0.1) -> None:
        self.now = 100.0
        self.sizes: list[int] = []
        self._quota, self._used, self._period = quota, 0.0, 1000

    def perf_counter(self) -> float:
        return self.now

    monotonic = perf_counter

    def run_step(self, num_tokens: int) -> None:
        self.sizes.append(num_tokens)
        for _ in range(num_tokens):
            if int(self.now * 10) != self._period:
                self._period, self._used = int(self.now * 10), 0.0
            if self._used >= self._quota:
                self.now = (self._period + 1) / 10
                self._period, self._used = self._period + 1, 0.0
            self.now += 0.001
            self._used += 0.001


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    monkeypatch.setattr("fastgen.runtime.budget.time", made)
    return made


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


def test_a_curve_is_measured_once_and_kept(tmp_path: Path, machine: Machine) -> None:
    file = tmp_path / "folder" / "curve.json"
    first = measured_budget(machine.run_step, 64, 1.0, file, is_busy=lambda: False)
    assert {8, 16, 32} <= set(machine.sizes)
    machine.sizes.clear()
    assert measured_budget(machine.run_step, 64, 1.0, file, is_busy=lambda: False) == pytest.approx(first)
    assert set(machine.sizes) == {first.num_tokens}  # What can be sustained is seen anew.


def test_a_damaged_cache_file_is_measured_again(tmp_path: Path, machine: Machine) -> None:
    file = tmp_path / "curve.json"
    file.write_text('{"not": "a curve"}')
    measured_budget(machine.run_step, 64, 1.0, file, is_busy=lambda: False)
    assert {8, 16, 32} <= set(machine.sizes)


def test_what_a_busy_machine_gave_is_not_kept(tmp_path: Path, machine: Machine) -> None:
    file = tmp_path / "curve.json"
    measured_budget(machine.run_step, 64, 1.0, file, is_busy=lambda: True)
    assert not file.exists()


def test_capacity_knows_of_a_cpu_limit_that_single_steps_do_not_see(monkeypatch: pytest.MonkeyPatch) -> None:
    limited = Machine(quota=0.03)
    monkeypatch.setattr("fastgen.runtime.budget.time", limited)
    assert sustained_tokens_per_second(limited.run_step, 8, best=1000.0) == pytest.approx(300.0, rel=0.1)
    assert limited.now - 100.0 == pytest.approx(MOST_STEADY_SECONDS, abs=0.1)


def test_where_nothing_holds_steps_back_it_is_soon_seen(machine: Machine) -> None:
    assert sustained_tokens_per_second(machine.run_step, 8, best=1000.0) == pytest.approx(1000.0)
    assert machine.now - 100.0 < 0.4
