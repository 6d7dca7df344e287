"""Llama 1, 2, 3 and everything that saves itself as LlamaForCausalLM.

Touvron et al. 2023 (https://arxiv.org/abs/2302.13971), Grattafiori et al. 2024 (https://arxiv.org/abs/2407.21783).
"""

from __future__ import annotations

from fastgen.models.config_file import ConfigFile
from fastgen.models.rope import read_rope
from fastgen.models.spec import DecoderSpec, TensorNames

GATED = ("silu", "swish", "gelu", "gelu_new", "gelu_pytorch_tanh")

NAMES = TensorNames(
    embedding="model.embed_tokens",
    layer="model.layers.{}.",
    q="self_attn.q_proj",
    k="self_attn.k_proj",
    v="self_attn.v_proj",
    o="self_attn.o_proj",
    gate="mlp.gate_proj",
    up="mlp.up_proj",
    down="mlp.down_proj",
    attention_norm="input_layernorm",
    mlp_norm="post_attention_layernorm",
    final_norm="model.norm",
    # Early checkpoints carry the rope's frequencies, which config.json determines.
    ignored=(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq", r"model\.rotary_emb\.inv_freq"),
)


def read_llama(config: ConfigFile) -> tuple[DecoderSpec, TensorNames]:
    """Defaults are those of transformers' LlamaConfig."""
    config.only("sliding_window", None)
    spec = read_rms_decoder(config, "LlamaForCausalLM", num_kv_heads=None, window_tokens=None)
    return spec, NAMES


def read_rms_decoder(
    config: ConfigFile, architecture: str, *, num_kv_heads: int | None, window_tokens: int | None
) -> DecoderSpec:
    """The Llama shape, as Mistral has it too. `num_kv_heads` is the default where the config names none."""
    hidden_size = config.integer("hidden_size")
    num_heads = config.integer("num_attention_heads")
    num_kv_heads = config.integer("num_key_value_heads", num_kv_heads or num_heads)
    if num_heads % num_kv_heads:
        raise config.unsupported("num_key_value_heads", num_kv_heads, f"a divisor of num_attention_heads={num_heads}")
    head_dim = config.integer("head_dim", hidden_size // num_heads, least=2)
    if head_dim % 2:
        raise config.unsupported("head_dim", head_dim, "an even number, for rotary embeddings turn pairs")
    rope, context_tokens = read_rope(config, head_dim, config.integer("max_position_embeddings", 2048))
    return DecoderSpec(
        architecture=architecture,
        vocab_size=config.integer("vocab_size"),
        hidden_size=hidden_size,
        num_layers=config.integer("num_hidden_layers"),
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        intermediate_size=config.integer("intermediate_size"),
        context_tokens=context_tokens,
        positions=rope,
        activation=config.choice("hidden_act", GATED, "silu"),
        gated_mlp=True,
        norm="rms",
        norm_eps=config.number("rms_norm_eps", 1e-6),
        attention_bias=config.flag("attention_bias", False),
        mlp_bias=config.flag("mlp_bias", False),
        window_tokens=window_tokens,
        embedding_size=hidden_size,
        tied_embeddings=config.flag("tie_word_embeddings", False),
    )
