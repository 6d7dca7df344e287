"""Tiny Hugging Face folders with random weights: real configurations, real tokenizers, two layers.

    folder = tiny_model("llama", tmp_path)                       # tmp_path / "llama-<hash of the options>"
    folder = tiny_model("llama", tmp_path, tie_word_embeddings=True, shards=3)
    folder = tiny_model("opt", tmp_path, do_layer_norm_before=False)
    folder = tiny_model("llama", tmp_path, rope_parameters={"rope_type": "linear", "factor": 2.0})

A folder is made once per set of options and parent folder, so that session fixtures cost little. The weights
are spread wider than a trained model's, so that greedy text varies and no two logits are nearly equal: what is
compared is then the tokens, and not the luck of a tie.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Literal

Kind = Literal["llama", "mistral", "opt"]

VOCAB_SIZE = 512
CONTEXT_TOKENS = 2048

_SENTENCES = (
    "FastGen serves large language models on Kubernetes.",
    "Dynamic SplitFuse cuts long prompts into chunks and fuses short ones, so that every step is equally full.",
    "The token budget is a target, not only a ceiling: while prompt work waits, no step runs below it.",
    "What is a block? A block holds the keys and values of a few tokens of one sequence.",
    "Ein Satz auf Deutsch: Grüße aus Köln, übermorgen läuft es. Une phrase en français : déjà vu, ça marche.",
    "日本語の文です。東京は大きい。 Emoji too: 🚀🙂👩‍👩‍👧",
    "for i in range(10):\n    print(f'{i} squared is {i * i}')\n",
    "The quick brown fox jumps over the lazy dog 0123456789 times.",
)

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

_COMMON: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": CONTEXT_TOKENS,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_OPTIONS: dict[str, dict[str, Any]] = {
    "llama": {
        **_COMMON,
        "intermediate_size": 160,
        "num_key_value_heads": 2,
        "tie_word_embeddings": False,
        "initializer_range": 0.15,
    },
    "mistral": {
        **_COMMON,
        "intermediate_size": 160,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "tie_word_embeddings": False,
        "sliding_window": 48,
        "initializer_range": 0.15,
    },
    "opt": {
        **_COMMON,
        "ffn_dim": 160,
        "word_embed_proj_dim": 64,
        "init_std": 0.15,
        "do_layer_norm_before": True,
    },
}


def tiny_model(
    kind: Kind,
    folder: Path | str,
    *,
    shards: int = 1,
    dtype: str = "float32",
    seed: int = 0,
    tokenizer: bool = True,
    **config: Any,
) -> Path:
    """A folder `from_pretrained` and FastGen can load, below `folder`.

    `config` goes to the transformers configuration class (rope_parameters, sliding_window,
    tie_word_embeddings, attention_bias, mlp_bias, word_embed_proj_dim, eos_token_id, ...).
    `shards` > 1 saves model-0000i-of-0000n.safetensors with an index.
    """
    options = {"kind": kind, "shards": shards, "dtype": dtype, "seed": seed, "tokenizer": tokenizer, **config}
    digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:12]
    path = Path(folder) / f"{kind}-{digest}"
    if path.exists():
        return path
    building = path.with_name(f"{path.name}.{os.getpid()}")
    _save_model(kind, building, shards, dtype, seed, config)
    if tokenizer:
        save_tokenizer(building)
    building.rename(path)
    return path


def _save_model(kind: Kind, path: Path, shards: int, dtype: str, seed: int, config: dict[str, Any]) -> None:
    import torch
    import transformers

    config_class, model_class = {
        "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
        "mistral": (transformers.MistralConfig, transformers.MistralForCausalLM),
        "opt": (transformers.OPTConfig, transformers.OPTForCausalLM),
    }[kind]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_class(config_class(**{**_OPTIONS[kind], **config}))
        _spread_biases_and_norms(model)
    model = model.to(getattr(torch, dtype))
    if shards == 1:
        model.save_pretrained(path)
        return
    total_bytes = sum(p.numel() * p.element_size() for p in model.parameters())
    model.save_pretrained(path, max_shard_size=total_bytes // shards + 1)


def _spread_biases_and_norms(model: Any) -> None:
    """Fresh biases are zero and norms one; a loader that forgot them would go unnoticed."""
    import torch

    for name, parameter in model.named_parameters():
        if name.endswith(".bias"):
            torch.nn.init.normal_(parameter, std=0.1)
        elif "norm" in name:
            torch.nn.init.normal_(parameter, mean=1.0, std=0.1)


def save_tokenizer(path: Path | str) -> None:
    """A byte-level BPE tokenizer with <s>, </s>, role tokens and a chat template, into a model folder."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<pad>", "<s>", "</s>", "<|system|>", "<|user|>", "<|assistant|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(_SENTENCES, trainer)
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        model_max_length=CONTEXT_TOKENS,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(path)
