"""On or off, a linear layer gives the same; what was measured is remembered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from fastgen_kernels.linear import measure
from fastgen_kernels.linear.candidates import CANDIDATES
from fastgen_kernels.linear.choice import PLAIN, LinearChoice
from fastgen_kernels.linear.layer import Linear, prepare_linear
from fastgen_kernels.linear.measure import measured_choice

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}


@pytest.fixture
def nothing_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder and a process that remembers nothing."""
    monkeypatch.setenv("FASTGEN_CACHE", str(tmp_path))
    monkeypatch.setattr(measure, "_known", {})
    monkeypatch.setattr(measure, "SECONDS_PER_SHAPE", 0.02)
    return tmp_path


def weights(rows: int, columns: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(rows, columns, generator=generator) * columns**-0.5
    return weight.to(dtype), torch.randn(rows, generator=generator).to(dtype)


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("name", list(CANDIDATES))
def test_every_candidate_multiplies_alike(name: str, dtype: torch.dtype) -> None:
    if not CANDIDATES[name].is_available(dtype):
        pytest.skip(f"{name} is not for {dtype} on this machine")
    weight, bias = weights(96, 64, dtype)
    for given_bias in (bias, None):
        layer = Linear(weight, given_bias, LinearChoice((), (name,)))
        for tokens in (0, 1, 2, 5, 16, 17, 100):
            x = torch.randn(tokens, 64).to(dtype)
            expected = F.linear(x.double(), weight.double(), None if given_bias is None else given_bias.double())
            torch.testing.assert_close(layer(x).double(), expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


@pytest.mark.usefixtures("nothing_known")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_auto_equals_plain(dtype: torch.dtype) -> None:
    """The off switch: whatever was chosen, the answer is the same."""
    weight, bias = weights(640, 512, dtype)
    measured, plain = prepare_linear(weight, bias), prepare_linear(weight, bias, mode="plain")
    assert plain.choice == PLAIN
    for tokens in (1, 3, 30, 300):
        x = torch.randn(tokens, 512).to(dtype)
        torch.testing.assert_close(measured(x), plain(x), atol=10 * TOLERANCE[dtype], rtol=TOLERANCE[dtype])


def test_more_dimensions_and_borders_between_candidates() -> None:
    weight, bias = weights(48, 32, torch.float32)
    layer = prepare_linear(weight, bias, choice=LinearChoice((2, 8), ("plain", "transposed", "plain")))
    for shape in ((2, 32), (3, 32), (8, 32), (2, 5, 32), (4, 4, 32)):
        x = torch.randn(shape)
        torch.testing.assert_close(layer(x), F.linear(x, weight, bias))


def test_measured_once_then_read_from_disk(nothing_known: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0))
    weight, _ = weights(512, 512, torch.float32)
    first = measured_choice(weight, has_bias=False)
    (kept,) = (nothing_known / "linear").iterdir()
    assert "plain" in json.loads(kept.read_text())

    monkeypatch.setattr(measure, "_known", {})
    monkeypatch.setattr(measure, "measure", lambda *_: pytest.fail("measured again"))
    assert measured_choice(weight, has_bias=False) == first
    assert measured_choice(weight, has_bias=False) is measured_choice(weight.clone(), has_bias=False)


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"plain": {}}', '{"plain": {"1": 1.0}, "magic": {"1": 0.1}}'])
def test_a_damaged_file_is_measured_anew(nothing_known: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0))
    monkeypatch.setattr(measure, "SECONDS_PER_SHAPE", 0.0)
    weight, _ = weights(512, 512, torch.float32)
    measured_choice(weight, has_bias=False)
    (kept,) = (nothing_known / "linear").iterdir()
    kept.write_text(damage)
    measure._known.clear()
    measured_choice(weight, has_bias=False)
    assert "plain" in json.loads(kept.read_text())


def test_a_busy_machine_measures_but_keeps_nothing(nothing_known: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (99.0, 0.0, 0.0))
    threads = torch.get_num_threads()
    weight, bias = weights(512, 512, torch.float32)
    layer = prepare_linear(weight, bias)
    assert set(layer.choice.names) <= set(CANDIDATES)
    assert not (nothing_known / "linear").exists()
    assert torch.get_num_threads() == threads


def test_a_cache_folder_that_cannot_be_written_does_not_matter(
    nothing_known: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0))
    (nothing_known / "linear").write_text("a file where the folder should be")
    weight, _ = weights(512, 512, torch.float32)
    assert measured_choice(weight, has_bias=False).names


@pytest.mark.usefixtures("nothing_known")
def test_small_weights_are_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "measure", lambda *_: pytest.fail("measured"))
    assert prepare_linear(torch.randn(64, 64)).choice == PLAIN


@pytest.mark.usefixtures("nothing_known")
def test_what_disagrees_is_not_used(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    wrong = CANDIDATES["transposed"]._replace(build=lambda weight, bias: lambda x: x @ weight.t() * 1.01)
    monkeypatch.setitem(CANDIDATES, "transposed", wrong)
    weight, _ = weights(512, 512, torch.float32)
    measured_choice(weight, has_bias=False)
    assert "transposed does not agree" in caplog.text
