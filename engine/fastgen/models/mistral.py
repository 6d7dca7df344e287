"""Mistral: Llama's shape with a sliding window. Jiang et al. 2023 (https://arxiv.org/abs/2310.06825)."""

from __future__ import annotations

from fastgen.models.config_file import ConfigFile
from fastgen.models.llama import NAMES, read_rms_decoder
from fastgen.models.spec import DecoderSpec, TensorNames


def read_mistral(config: ConfigFile) -> tuple[DecoderSpec, TensorNames]:
    """Defaults are those of transformers' MistralConfig; a `sliding_window` of null is none at all."""
    for key in ("attention_bias", "mlp_bias"):
        config.only(key, False)
    window_tokens = config.optional_integer("sliding_window") if config.has("sliding_window") else 4096
    spec = read_rms_decoder(config, "MistralForCausalLM", num_kv_heads=8, window_tokens=window_tokens)
    return spec, NAMES
