"""Llama shapes with random weights, as folders in Hugging Face format: for speed, weights need no meaning.

A folder is written once, under the cache folder, and found again by its name.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from fastgen.errors import UsageError
from fastgen_kernels.cache_folder import cache_folder

SHARD_BYTES = 2 * 2**30
STD = 0.02
SEED = 20240117


@dataclass(frozen=True, slots=True)
class LlamaShape:
    """The sizes of a Llama."""

    name: str
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    intermediate_size: int
    vocab_size: int
    context_tokens: int

    @property
    def config(self) -> dict[str, Any]:
        """config.json. No end-of-sequence token: answers are as long as asked for."""
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": self.hidden_size,
            "num_hidden_layers": self.num_layers,
            "num_attention_heads": self.num_heads,
            "num_key_value_heads": self.num_kv_heads,
            "intermediate_size": self.intermediate_size,
            "vocab_size": self.vocab_size,
            "max_position_embeddings": self.context_tokens,
            "hidden_act": "silu",
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "tie_word_embeddings": False,
            "initializer_range": STD,
            "bos_token_id": None,
            "eos_token_id": None,
        }

    def tensors(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Names and shapes of all weights, as Hugging Face calls them."""
        hidden, inner = self.hidden_size, self.intermediate_size
        kv = hidden // self.num_heads * self.num_kv_heads
        yield "model.embed_tokens.weight", (self.vocab_size, hidden)
        for index in range(self.num_layers):
            layer = f"model.layers.{index}"
            yield f"{layer}.input_layernorm.weight", (hidden,)
            yield f"{layer}.self_attn.q_proj.weight", (hidden, hidden)
            yield f"{layer}.self_attn.k_proj.weight", (kv, hidden)
            yield f"{layer}.self_attn.v_proj.weight", (kv, hidden)
            yield f"{layer}.self_attn.o_proj.weight", (hidden, hidden)
            yield f"{layer}.post_attention_layernorm.weight", (hidden,)
            yield f"{layer}.mlp.gate_proj.weight", (inner, hidden)
            yield f"{layer}.mlp.up_proj.weight", (inner, hidden)
            yield f"{layer}.mlp.down_proj.weight", (hidden, inner)
        yield "model.norm.weight", (hidden,)
        yield "lm_head.weight", (self.vocab_size, hidden)

    @property
    def num_parameters(self) -> int:
        return sum(torch.Size(shape).numel() for _, shape in self.tensors())


SHAPES = {
    shape.name: shape
    for shape in (
        LlamaShape("llama-2-7b", 4096, 32, 32, 32, 11008, 32000, 4096),
        LlamaShape("llama-3.1-8b", 4096, 32, 32, 8, 14336, 128256, 8192),
        LlamaShape("llama-158m", 1024, 12, 16, 8, 2816, 8192, 4096),
        LlamaShape("llama-9m", 256, 6, 8, 4, 704, 4096, 4096),
        LlamaShape("llama-1m", 128, 2, 4, 2, 352, 2048, 2048),
    )
}


def shape_named(name: str) -> LlamaShape:
    """Raises UsageError with the known names."""
    if name not in SHAPES:
        raise UsageError(f"--shape {name!r} is not known; choose one of {', '.join(SHAPES)}")
    return SHAPES[name]


def random_llama(shape: LlamaShape, dtype: torch.dtype, *, parent: Path | None = None) -> Path:
    """A folder with this shape's config and random weights (normal, std 0.02; norms 1) in `dtype`, the same
    on every machine of one kind. Drawn on the GPU where there is one: 7 billion numbers take a CPU minutes."""
    parent = parent or cache_folder() / "bench-models"
    folder = parent / f"{shape.name}-{str(dtype).removeprefix('torch.')}"
    if (folder / "config.json").is_file():
        return folder
    scratch = parent / f".{folder.name}-{os.getpid()}"
    scratch.mkdir(parents=True, exist_ok=True)
    try:
        _write_weights(shape, dtype, scratch)
        config = {**shape.config, "dtype": str(dtype).removeprefix("torch.")}
        (scratch / "config.json").write_text(json.dumps(config, indent=2))
        shutil.rmtree(folder, ignore_errors=True)
        scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


def _write_weights(shape: LlamaShape, dtype: torch.dtype, folder: Path) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator(device).manual_seed(SEED)
    shards = list(_shards(shape, dtype.itemsize))
    index: dict[str, str] = {}
    for number, names in enumerate(shards, start=1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors" if len(shards) > 1 else "model.safetensors"
        tensors = {}
        for name, size in names:
            if len(size) == 1:
                tensors[name] = torch.ones(size, dtype=dtype)
            else:
                drawn = torch.empty(size, dtype=dtype, device=device).normal_(0.0, STD, generator=generator)
                tensors[name] = drawn.cpu()
        save_file(tensors, folder / file, metadata={"format": "pt"})
        index |= dict.fromkeys(tensors, file)
    if len(shards) > 1:
        total = shape.num_parameters * dtype.itemsize
        contents = {"metadata": {"total_size": total}, "weight_map": index}
        (folder / "model.safetensors.index.json").write_text(json.dumps(contents, indent=1))


def _shards(shape: LlamaShape, item_bytes: int) -> Iterator[list[tuple[str, tuple[int, ...]]]]:
    shard: list[tuple[str, tuple[int, ...]]] = []
    filled = 0
    for name, size in shape.tensors():
        num_bytes = torch.Size(size).numel() * item_bytes
        if shard and filled + num_bytes > SHARD_BYTES:
            yield shard
            shard, filled = [], 0
        shard.append((name, size))
        filled += num_bytes
    yield shard
