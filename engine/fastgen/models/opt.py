"""OPT: learned positions, layer norms, biases. Zhang et al. 2022 (https://arxiv.org/abs/2205.01068)."""

from __future__ import annotations

from fastgen.models.config_file import ConfigFile
from fastgen.models.spec import DecoderSpec, LearnedPositions, TensorNames

_POSITION_OFFSET = 2
"""The first two rows of the position table belong to a padding scheme of fairseq's."""

NAMES = TensorNames(
    embedding="model.decoder.embed_tokens",
    positions="model.decoder.embed_positions",
    project_in="model.decoder.project_in",
    project_out="model.decoder.project_out",
    layer="model.decoder.layers.{}.",
    q="self_attn.q_proj",
    k="self_attn.k_proj",
    v="self_attn.v_proj",
    o="self_attn.out_proj",
    up="fc1",
    down="fc2",
    attention_norm="self_attn_layer_norm",
    mlp_norm="final_layer_norm",
    final_norm="model.decoder.final_layer_norm",
    # The hub's own OPT files were saved from the bare decoder.
    strip_prefixes=("model.",),
)


def read_opt(config: ConfigFile) -> tuple[DecoderSpec, TensorNames]:
    """Defaults are those of transformers' OPTConfig."""
    hidden_size = config.integer("hidden_size")
    num_heads = config.integer("num_attention_heads")
    if hidden_size % num_heads:
        raise config.unsupported("num_attention_heads", num_heads, f"a divisor of hidden_size={hidden_size}")
    context_tokens = config.integer("max_position_embeddings", 2048)
    norm_before = config.flag("do_layer_norm_before", True)
    has_bias = config.flag("enable_bias", True)
    spec = DecoderSpec(
        architecture="OPTForCausalLM",
        vocab_size=config.integer("vocab_size"),
        hidden_size=hidden_size,
        num_layers=config.integer("num_hidden_layers"),
        num_heads=num_heads,
        num_kv_heads=num_heads,
        head_dim=hidden_size // num_heads,
        intermediate_size=config.integer("ffn_dim"),
        context_tokens=context_tokens,
        positions=LearnedPositions(context_tokens, _POSITION_OFFSET),
        activation=config.choice("activation_function", ("relu", "gelu", "gelu_new", "silu"), "relu"),
        gated_mlp=False,
        norm="layer",
        norm_eps=1e-5,
        norm_has_weight=config.flag("layer_norm_elementwise_affine", True),
        norm_before=norm_before,
        final_norm=norm_before and not config.flag("_remove_final_layer_norm", False),
        attention_bias=has_bias,
        mlp_bias=has_bias,
        embedding_size=config.integer("word_embed_proj_dim", hidden_size),
        tied_embeddings=config.flag("tie_word_embeddings", True),
    )
    return spec, NAMES
