"""The families on a CUDA device: float32 equals transformers on the CPU, half types stay near it."""

from __future__ import annotations

from pathlib import Path

import pytest
from oracle import greedy_tokens
from stepping import load_runner, oracle_logits, ragged_logits, worst_difference
from tiny_models import Kind, tiny_model

import fastgen

pytestmark = pytest.mark.gpu

PROMPTS = [[(7 * i * i + 31 * j + 5) % 500 + 10 for i in range(length)] for j, length in enumerate((150, 1, 67, 33))]
FAMILIES: list[Kind] = ["llama", "mistral", "opt"]


@pytest.mark.parametrize("attention", ["reference", "triton"])
@pytest.mark.parametrize("kind", FAMILIES)
def test_float32_logits_equal_transformers(kind: Kind, attention: str, models_folder: Path) -> None:
    folder = tiny_model(kind, models_folder)
    found = ragged_logits(load_runner(folder, device="cuda", attention=attention), PROMPTS)
    assert worst_difference(found, oracle_logits(folder, PROMPTS)) < 1e-3


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("kind", FAMILIES)
def test_half_types_stay_near_float32(kind: Kind, dtype: str, models_folder: Path) -> None:
    folder = tiny_model(kind, models_folder)
    found = ragged_logits(load_runner(folder, device="cuda", dtype=dtype), PROMPTS)
    assert worst_difference(found, oracle_logits(folder, PROMPTS)) < 0.4


@pytest.mark.parametrize("kind", FAMILIES)
def test_greedy_tokens_equal_transformers(kind: Kind, models_folder: Path) -> None:
    folder = tiny_model(kind, models_folder)
    with fastgen.pipeline(folder, device="cuda", dtype="float32", token_budget=48, max_model_tokens=256) as pipe:
        responses = pipe(PROMPTS, max_new_tokens=24, temperature=0.0, ignore_eos=True)
    assert [list(response.token_ids) for response in responses] == greedy_tokens(folder, PROMPTS, 24)


def test_the_cache_takes_its_share_of_the_device_and_is_given_back(tiny_llama: Path) -> None:
    import torch

    before, total = torch.cuda.mem_get_info()
    runner = load_runner(tiny_llama, device="cuda", max_sequences=1_000_000, memory_fraction=0.3)
    taken = before - torch.cuda.mem_get_info()[0]
    assert abs(taken + (total - before) - 0.3 * total) < 0.05 * total
    runner.close()
    assert torch.cuda.mem_get_info()[0] > before - 0.02 * total
