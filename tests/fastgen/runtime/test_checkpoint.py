"""What does not fit is named, all of it at once, and a pickle is never opened."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from stepping import load_runner
from tiny_models import tiny_model

from fastgen.errors import ModelError

Weights = dict[str, torch.Tensor]


@pytest.fixture
def folder(tiny_llama: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return shutil.copytree(tiny_llama, tmp_path / "model")


def change_weights(folder: Path, change: Callable[[Weights], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


def change_config(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def error_of(folder: Path, **config: Any) -> str:
    with pytest.raises(ModelError) as error:
        load_runner(folder, **config)
    return str(error.value)


def test_missing_extra_and_misshapen_tensors_are_named_together(folder: Path) -> None:
    def spoil(weights: Weights) -> None:
        del weights["model.layers.1.self_attn.k_proj.weight"]
        weights["model.layers.0.mlp.secret_proj.weight"] = torch.zeros(2, 2)
        weights["model.norm.weight"] = torch.ones(65)

    change_weights(folder, spoil)
    message = error_of(folder)
    assert "missing: model.layers.1.self_attn.k_proj.weight" in message
    assert "misshapen: model.norm.weight is [65], the config asks for [64]" in message
    assert "not part of LlamaForCausalLM: model.layers.0.mlp.secret_proj.weight" in message


def test_many_missing_tensors_are_counted(folder: Path) -> None:
    change_config(folder, num_hidden_layers=4)
    assert "model.layers.2." in error_of(folder)
    assert "and 10 more" in error_of(folder)


def test_known_harmless_tensors_are_ignored(folder: Path) -> None:
    change_weights(folder, lambda w: w.update({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)}))
    load_runner(folder)


def test_a_head_beside_tied_embeddings_is_ignored_and_a_missing_untied_one_is_not(
    models_folder: Path, tmp_path: Path, folder: Path
) -> None:
    tied = shutil.copytree(tiny_model("llama", models_folder, tie_word_embeddings=True), tmp_path / "tied")
    change_weights(tied, lambda w: w.update({"lm_head.weight": w["model.embed_tokens.weight"].clone()}))
    load_runner(tied)
    change_weights(folder, lambda w: w.pop("lm_head.weight"))
    assert "missing: lm_head.weight" in error_of(folder)


def test_opt_files_saved_from_the_bare_decoder_load(tiny_opt: Path, tmp_path: Path) -> None:
    bare = shutil.copytree(tiny_opt, tmp_path / "opt")
    weights = load_file(bare / "model.safetensors")
    save_file({name.removeprefix("model."): tensor for name, tensor in weights.items()}, bare / "model.safetensors")
    load_runner(bare)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "quantization_config (quant_method gptq)"),
        ({"hidden_act": "relu6"}, 'hidden_act is "relu6"; supported: silu'),
        ({"attn_logit_softcapping": 30.0}, "attn_logit_softcapping=30.0"),
        ({"rope_parameters": {"rope_type": "longrope"}}, 'rope_parameters.rope_type is "longrope"'),
        ({"num_key_value_heads": 3}, "num_key_value_heads is 3; supported: a divisor of num_attention_heads=4"),
        ({"sliding_window": 128}, "sliding_window is 128; supported: null"),
        ({"hidden_size": "64"}, 'hidden_size is "64"; supported: a whole number'),
        ({"vocab_size": None}, "vocab_size is null; supported: a whole number"),
        ({"architectures": ["GPT2LMHeadModel"]}, "GPT2LMHeadModel is not supported; FastGen runs LlamaForCausalLM"),
        ({"architectures": None, "model_type": "qwen9"}, "model_type qwen9 is not supported"),
    ],
)
def test_config_values_that_would_change_the_result_are_named(values: dict[str, Any], named: str, folder: Path) -> None:
    change_config(folder, **values)
    assert named in error_of(folder)


def test_config_keys_of_bookkeeping_change_nothing(folder: Path) -> None:
    change_config(folder, _name_or_path="x", unsloth_version="1", num_beams=4, attention_sink=None, pretraining_tp=2)
    load_runner(folder)


def test_pickled_weights_are_refused_with_advice(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    message = error_of(folder)
    assert "pytorch_model.bin" in message
    assert "save_pretrained" in message


def test_damaged_and_incomplete_folders(folder: Path, models_folder: Path, tmp_path: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    assert "cannot be read as safetensors" in error_of(folder)
    (folder / "model.safetensors").unlink()
    assert "holds no weights" in error_of(folder)
    (folder / "config.json").write_text("{")
    assert "is not valid JSON" in error_of(folder)
    (folder / "config.json").unlink()
    assert "has no config.json" in error_of(folder)
    sharded = shutil.copytree(tiny_model("llama", models_folder, shards=3), tmp_path / "sharded")
    gone = next(sharded.glob("model-00002-*"))
    gone.unlink()
    assert f"names files that are not there: {gone.name}" in error_of(sharded)


def test_an_index_cannot_point_outside_its_folder(folder: Path) -> None:
    index = {"weight_map": {"a": "../elsewhere.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "names files outside its folder: ../elsewhere.safetensors" in error_of(folder)


def test_values_beyond_float16_are_an_error_and_not_infinity(folder: Path) -> None:
    change_weights(folder, lambda w: w["model.layers.1.mlp.up_proj.weight"].mul_(1e6))
    message = error_of(folder, dtype="float16")
    assert "model.layers.1.mlp.up_proj.weight holds values beyond float16's range" in message


def test_integer_weights_are_refused(folder: Path) -> None:
    change_weights(folder, lambda w: w.update({"lm_head.weight": w["lm_head.weight"].to(torch.int8)}))
    assert "tensors of type I8; supported are F32, BF16, F16" in error_of(folder)
