"""Tiny real tokenizers of the kinds the detokenizer must get right, trained on the spot."""

from __future__ import annotations

from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend
from transformers import PreTrainedTokenizerFast

from fastgen.text.tokenizer import Tokenizer

CORPUS = [
    "Dynamic SplitFuse cuts long prompts into chunks, and fills each step to its token budget.",
    "Überraschung! Größe, naïve café, señor. 你好，世界。 こんにちは 😀😃👍🏽 family: 👨‍👩‍👧",
    "  indentation   and\ttabs\nand lines . , ! don't",
] * 3
CHAT_TEMPLATE = (
    "{% for m in messages %}{% if m.role not in ['user', 'assistant', 'system'] %}"
    "{{ raise_exception('unknown role ' + m.role) }}{% endif %}"
    "<|{{ m.role }}|>{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<s>", "</s>", "<|user|>", "<|assistant|>", "<|system|>"]


def byte_level(chat_template: str | None = CHAT_TEMPLATE) -> Tokenizer:
    """As OPT, Llama 3, Qwen."""
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet, special_tokens=SPECIAL)
    )
    # A plain added token with a space: outside the byte alphabet, so it decodes as itself.
    backend.add_tokens([AddedToken("two words", normalized=False)])
    return _wrapped(backend, chat_template)


def sentencepiece() -> Tokenizer:
    """As Llama 2 and Mistral: a space before the first word, bytes where no piece fits."""
    backend = Backend(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=["<unk>", *SPECIAL, *byte_tokens], limit_alphabet=60)
    backend.train_from_iterator(CORPUS, trainer)
    # The trainer marks byte tokens special; a real sentencepiece model does not.
    return _wrapped(_without_special(backend, byte_tokens), CHAT_TEMPLATE)


def metaspace() -> Tokenizer:
    """Neither of the two: decoded through a window."""
    backend = Backend(models.BPE(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    backend.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=300, special_tokens=["<unk>", *SPECIAL]))
    return _wrapped(backend, None)


def _wrapped(backend: Backend, chat_template: str | None) -> Tokenizer:
    hf = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")
    hf.chat_template = chat_template
    return Tokenizer(hf)


def _without_special(backend: Backend, names: list[str]) -> Backend:
    import json

    state = json.loads(backend.to_str())
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] not in names]
    return Backend.from_str(json.dumps(state))
