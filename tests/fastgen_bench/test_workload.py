"""Lengths, arrivals and prompts: drawn as published, and the same for the same seed."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from fastgen.errors import UsageError
from fastgen_bench.config import LoadConfig
from fastgen_bench.words import WORDS
from fastgen_bench.workload import (
    ExactPrompts,
    WordPrompts,
    arrival_times,
    draw_lengths,
    due_times,
    plan_requests,
    tokenizer_counter,
)


def test_arrivals_are_poisson() -> None:
    """Gaps of a Poisson process are exponential: their mean and deviation are both 1/rate, and the counts
    per second have a variance equal to their mean."""
    times = np.array(list(itertools.islice(arrival_times(np.random.default_rng(1), rate=8.0), 40_000)))
    gaps = np.diff(times)
    assert times[0] == 0.0
    assert gaps.mean() == pytest.approx(1 / 8, rel=0.02)
    assert gaps.std() == pytest.approx(1 / 8, rel=0.02)
    counts = np.bincount(times.astype(int))[:-1]
    assert counts.var() / counts.mean() == pytest.approx(1.0, abs=0.06)
    assert np.quantile(gaps, 0.5) == pytest.approx(np.log(2) / 8, rel=0.03)


def test_due_times_end_with_the_seconds() -> None:
    times = list(due_times(LoadConfig(rate=50.0, seconds=2.0)))
    assert max(times) < 2.0
    assert 60 < len(times) < 140
    assert times == list(due_times(LoadConfig(rate=50.0, seconds=2.0)))


def test_lengths_are_normal_and_cut() -> None:
    lengths = draw_lengths(np.random.default_rng(0), 2600, 0.3, None, 50_000)
    assert lengths.mean() == pytest.approx(2600, rel=0.01)
    assert lengths.std() == pytest.approx(780, rel=0.02)
    assert draw_lengths(np.random.default_rng(0), 2600, 0.3, 4000, 50_000).max() == 4000
    assert draw_lengths(np.random.default_rng(0), 2, 1.0, None, 1000).min() == 1
    assert set(draw_lengths(np.random.default_rng(0), 64, 0.0, None, 10)) == {64}


def test_every_point_of_a_sweep_gets_the_same_requests() -> None:
    prompts = WordPrompts(seed=5)
    one, sixteen = (list(itertools.islice(plan_requests(LoadConfig(clients=c, seed=5), prompts), 300)) for c in (1, 16))
    assert one == sixteen
    assert one != list(itertools.islice(plan_requests(LoadConfig(seed=6), WordPrompts(6)), 300))


def test_prompts_share_no_beginning() -> None:
    """A prefix cache must gain nothing: hardly two of 200 prompts begin with the same three words."""
    made = [WordPrompts(seed=1).make(index, 50) for index in range(200)]
    assert len({tuple(prompt.split()[:3]) for prompt in made}) >= 199


@pytest.fixture
def tokenizer_folder(tmp_path: Path) -> Path:
    """Two tokens for a long word, one for a short one, and a begin-of-sequence token."""
    pieces = sorted({word[:4] for word in WORDS} | {"##" + word[4:] for word in WORDS if word[4:]} | {"a"})
    vocabulary = {piece: i for i, piece in enumerate(["<s>", "[UNK]", *pieces])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_with_a_tokenizer_prompts_are_exact(tokenizer_folder: Path) -> None:
    count = tokenizer_counter(str(tokenizer_folder))
    assert count("about it") == 4
    made = ExactPrompts(3, count)
    for index, wanted in enumerate((2, 3, 17, 64, 511, 700)):
        assert count(made.make(index, wanted)) == wanted


def test_a_folder_without_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no tokenizer\.json"):
        tokenizer_counter(str(tmp_path))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"clients": 0}, "clients=0"),
        ({"rate": -1.0}, "rate=-1"),
        ({"sigma": 2.0}, "sigma"),
        ({"seconds": 0.0}, "seconds"),
    ],
)
def test_wrong_configurations_say_so(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        LoadConfig(**wrong)
