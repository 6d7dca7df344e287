"""`auto` never loses range, prefers the checkpoint's own dtype, and says what it measured."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from stepping import load_runner
from tiny_models import tiny_model

from fastgen.errors import ModelError
from fastgen.models.registry import read_spec
from fastgen.runtime.dtypes import MEASURED_TOKENS, checkpoint_dtype, choose, measure, resolve_dtype

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing measured before this test."""
    monkeypatch.setenv("FASTGEN_CACHE", str(tmp_path / "cache"))


def test_a_checkpoint_of_mixed_dtypes_needs_float32() -> None:
    assert checkpoint_dtype(["BF16", "BF16"]) == "bfloat16"
    assert checkpoint_dtype(["BF16", "F32"]) == "float32"
    assert checkpoint_dtype(["BF16", "F16"]) == "float32"
    with pytest.raises(ModelError, match="F8_E4M3"):
        checkpoint_dtype(["F8_E4M3", "BF16"])


def test_the_clearly_faster_wins_and_a_tie_keeps_the_checkpoints_own() -> None:
    assert choose("bfloat16", {"bfloat16": 3.0, "float32": 1.0}) == "float32"
    assert choose("bfloat16", {"bfloat16": 1.05, "float32": 1.0}) == "bfloat16"
    assert choose("float32", {"bfloat16": 0.5, "float32": 1.0}) == "bfloat16"


@pytest.mark.parametrize(
    ("stored", "tried"),
    [("float32", ["float32", "bfloat16"]), ("bfloat16", ["bfloat16", "float32"])],
)
def test_auto_tries_only_what_keeps_the_range(
    stored: str, tried: list[str], tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []

    def pretend(dtype: torch.dtype, *_: object) -> dict[int, float]:
        measured.append(str(dtype).removeprefix("torch."))
        return dict.fromkeys(MEASURED_TOKENS, float(len(measured)))

    monkeypatch.setattr("fastgen.runtime.dtypes.measure", pretend)
    spec, _ = read_spec(tiny_llama)
    dtype, reason = resolve_dtype("auto", stored, spec, CPU)
    assert measured == tried
    assert dtype == getattr(torch, stored)
    assert f"a {stored} checkpoint" in reason
    assert f"{tried[1]} 2e+03/2e+03/2e+03 ms" in reason
    assert resolve_dtype("auto", stored, spec, CPU) == (dtype, reason)
    assert measured == tried, "the second start remembers"


def test_a_measurement_is_a_time(tiny_llama: Path) -> None:
    spec, _ = read_spec(tiny_llama)
    times = measure(torch.float32, spec, CPU)
    assert list(times) == list(MEASURED_TOKENS)
    assert all(0 < seconds < 1.0 for seconds in times.values())


def test_a_dtype_too_slow_to_measure_is_extrapolated(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastgen.runtime.dtypes._SECONDS_PER_DTYPE", 0.0)
    times = measure(torch.float32, read_spec(tiny_llama)[0], CPU)
    assert times[256] == pytest.approx(256 * times[1])


def test_the_choice_and_its_figures_are_logged(models_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tiny_model("llama", models_folder, dtype="bfloat16")
    with caplog.at_level(logging.INFO):
        runner = load_runner(folder, dtype="auto")
    assert runner.dtype in (torch.bfloat16, torch.float32)
    assert "a bfloat16 checkpoint; multiplying 1/16/256 tokens took bfloat16 " in caplog.text
    assert load_runner(folder, dtype="float32").dtype == torch.float32
