"""Every family and every variant gives transformers' logits, however its sequences are cut and mixed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from stepping import load_runner, oracle_logits, ragged_logits, worst_difference
from tiny_models import Kind, tiny_model

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 128}
DEEPSEEK_YARN = {**YARN, "mscale": 0.7, "mscale_all_dim": 1.2, "beta_fast": 16.0, "beta_slow": 2.0, "truncate": False}

VARIANTS: dict[str, tuple[Kind, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama mha": ("llama", {"num_key_value_heads": 4}),
    "llama mqa, wide heads": ("llama", {"num_key_value_heads": 1, "head_dim": 24}),
    "llama tied": ("llama", {"tie_word_embeddings": True}),
    "llama biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama gelu": ("llama", {"hidden_act": "gelu_pytorch_tanh"}),
    "llama 3 rope": ("llama", {"rope_parameters": LLAMA3}),
    "llama linear rope": ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.5, "rope_theta": 1e4}}),
    "llama yarn": ("llama", {"max_position_embeddings": 512, "rope_parameters": YARN}),
    "llama yarn, every knob": ("llama", {"max_position_embeddings": 512, "rope_parameters": DEEPSEEK_YARN}),
    "llama yarn, given factor": ("llama", {"rope_parameters": {**YARN, "attention_factor": 1.3}}),
    "mistral": ("mistral", {}),
    "mistral, no window": ("mistral", {"sliding_window": None}),
    "mistral, window of one block": ("mistral", {"sliding_window": 16, "num_key_value_heads": 4}),
    "opt": ("opt", {}),
    "opt-350m": ("opt", {"do_layer_norm_before": False, "word_embed_proj_dim": 32}),
    "opt, norm after, no projection": ("opt", {"do_layer_norm_before": False}),
    "opt without biases": ("opt", {"enable_bias": False, "activation_function": "gelu"}),
    "opt, plain norms": ("opt", {"layer_norm_elementwise_affine": False}),
    "opt untied": ("opt", {"tie_word_embeddings": False}),
}

PROMPTS = [[(7 * i * i + 31 * j + 5) % 500 + 10 for i in range(length)] for j, length in enumerate((150, 1, 67, 33))]


@pytest.mark.parametrize("name", VARIANTS)
def test_logits_equal_transformers(name: str, models_folder: Path) -> None:
    kind, options = VARIANTS[name]
    folder = tiny_model(kind, models_folder, tokenizer=False, **options)
    expected = oracle_logits(folder, PROMPTS)
    found = ragged_logits(load_runner(folder), PROMPTS)
    assert worst_difference(found, expected) < 1e-4


@pytest.mark.parametrize("attention", ["reference", "cpu"])
@pytest.mark.parametrize("block_tokens", [1, 7, 64])
def test_any_block_size_and_backend(attention: str, block_tokens: int, tiny_mistral: Path) -> None:
    runner = load_runner(tiny_mistral, attention=attention, block_tokens=block_tokens)
    assert worst_difference(ragged_logits(runner, PROMPTS), oracle_logits(tiny_mistral, PROMPTS)) < 1e-4


def test_steps_without_a_sampled_row_still_fill_the_cache(tiny_llama: Path) -> None:
    from fastgen.runtime.batches import BatchRow

    runner = load_runner(tiny_llama)
    prompt, blocks = PROMPTS[2], tuple(range(8))
    assert runner.forward([BatchRow(prompt[:50], 0, blocks, False, 67)]).shape == (0, 512)
    last = runner.forward([BatchRow(prompt[50:], 50, blocks, True, 67)])
    assert (last[0] - oracle_logits(tiny_llama, [prompt])[0][-1]).abs().max() < 1e-4


def test_sharded_weights_are_the_same_weights(models_folder: Path, tiny_llama: Path) -> None:
    sharded = tiny_model("llama", models_folder, shards=3)
    assert (sharded / "model.safetensors.index.json").exists()
    single, several = (ragged_logits(load_runner(each), PROMPTS[2:]) for each in (tiny_llama, sharded))
    assert all(a.equal(b) or worst_difference([a], [b]) == 0.0 for a, b in zip(single, several, strict=True))


def test_bfloat16_stays_near_float32(tiny_llama: Path) -> None:
    exact = ragged_logits(load_runner(tiny_llama), PROMPTS)
    rounded = ragged_logits(load_runner(tiny_llama, dtype="bfloat16"), PROMPTS)
    assert 1e-3 < worst_difference(rounded, exact) < 0.3
