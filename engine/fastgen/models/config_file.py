"""A model's config.json, read key by key, so that nothing in it can be overlooked.

Each family takes the keys it understands; what is left must be harmless by name or neutral in value.
A key nobody understands might change what the model computes, so it is an error, not a guess.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastgen.errors import ModelError


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_BOOKKEEPING = _words(
    "architectures auto_map bos_token_id chunk_size_feed_forward dtype eos_token_id finetuning_task id2label "
    "is_decoder label2id max_sequence_length model_max_length model_type pad_token_id prefix problem_type "
    "return_dict sep_token_id task_specific_params tokenizer_class torch_dtype torchscript transformers_version "
    "unsloth_fixed unsloth_version use_cache"
)
_TRAINING = _words(
    "activation_dropout attention_dropout attn_pdrop dropout embd_pdrop gradient_checkpointing hidden_dropout "
    "init_std initializer_range layerdrop output_attentions output_hidden_states resid_pdrop"
)
_GENERATION_DEFAULTS = _words(
    "bad_words_ids begin_suppress_tokens decoder_start_token_id diversity_penalty do_sample early_stopping "
    "encoder_no_repeat_ngram_size exponential_decay_length_penalty forced_bos_token_id forced_eos_token_id "
    "length_penalty max_length min_length no_repeat_ngram_size num_beam_groups num_beams num_return_sequences "
    "output_scores remove_invalid_values repetition_penalty return_dict_in_generate suppress_tokens temperature "
    "top_k top_p typical_p"
)
# pretraining_tp once split projections into slices that were added up again: the same sum.
_SAME_RESULT = _words("pretraining_tp")
HARMLESS_KEYS = _BOOKKEEPING | _TRAINING | _GENERATION_DEFAULTS | _SAME_RESULT
"""Keys of config.json that never change the logits."""

_NEUTRAL: tuple[Any, ...] = (None, False, "", [], {})
"""Values that switch a feature off. (0 equals False and so is one of them.)"""
_REQUIRED: Any = object()


class ConfigFile:
    """The values of a config.json, and which of them have been read."""

    def __init__(self, values: Mapping[str, Any], path: Path, prefix: str = "") -> None:
        self.path = path
        self._prefix = prefix
        self._values = dict(values)
        self._read: set[str] = set()

    @classmethod
    def load(cls, folder: Path) -> ConfigFile:
        """Read folder/config.json; raises ModelError where it is missing or no JSON object."""
        path = folder / "config.json"
        if not path.is_file():
            raise ModelError(f"{folder} has no config.json; a model folder in Hugging Face format needs one")
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ModelError(f"{path} is not valid JSON: {error}") from None
        if not isinstance(values, dict):
            raise ModelError(f"{path} holds a {type(values).__name__}; expected a JSON object")
        return cls(values, path)

    def peek(self, key: str) -> Any:
        """The raw value, or None; does not count as read."""
        return self._values.get(key)

    def has(self, key: str) -> bool:
        """True where the file names the key, be it null."""
        return key in self._values

    def section(self, key: str) -> ConfigFile | None:
        """A nested object, whose own keys are then read in the same way."""
        value = self._take(key, None)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.unsupported(key, value, "an object")
        return ConfigFile(value, self.path, f"{self._prefix}{key}.")

    def integer(self, key: str, default: int | None = _REQUIRED, *, least: int = 1) -> int:
        value = self._take(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise self.unsupported(key, value, f"a whole number of at least {least}")
        return value

    def optional_integer(self, key: str) -> int | None:
        return None if self._take(key, None) is None else self.integer(key)

    def number(self, key: str, default: float = _REQUIRED) -> float:
        value = self._take(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.unsupported(key, value, "a number")
        return float(value)

    def optional_number(self, key: str) -> float | None:
        return None if self._take(key, None) is None else self.number(key)

    def flag(self, key: str, default: bool) -> bool:
        value = self._take(key, default)
        if not isinstance(value, bool):
            raise self.unsupported(key, value, "true or false")
        return value

    def choice(self, key: str, allowed: tuple[str, ...], default: str = _REQUIRED) -> str:
        value = self._take(key, default)
        if value not in allowed:
            raise self.unsupported(key, value, ", ".join(allowed))
        return str(value)

    def only(self, key: str, allowed: Any) -> None:
        """Accept a key whose every other value would change the result."""
        value = self._take(key, allowed)
        if value != allowed:
            raise self.unsupported(key, value, json.dumps(allowed))

    def unsupported(self, key: str, value: Any, supported: str) -> ModelError:
        shown = "missing" if value is _REQUIRED else json.dumps(value, default=str)[:120]
        return ModelError(f"{self.path}: {self._prefix}{key} is {shown}; supported: {supported}")

    def finish(self) -> None:
        """Raise ModelError naming every key that was not read and might change the result."""
        quantization = self._values.get("quantization_config")
        if quantization:
            method = quantization.get("quant_method", "unknown") if isinstance(quantization, dict) else quantization
            raise ModelError(
                f"{self.path}: quantization_config (quant_method {method}) is not supported; "
                "use the checkpoint's float32, bfloat16 or float16 version"
            )
        unknown = [
            f"{self._prefix}{key}={json.dumps(value, default=str)[:80]}"
            for key, value in self._values.items()
            if key not in self._read and key not in HARMLESS_KEYS and not key.startswith("_") and value not in _NEUTRAL
        ]
        if unknown:
            raise ModelError(
                f"{self.path} holds keys FastGen does not know, which may change what the model computes: "
                f"{'; '.join(unknown)}. Remove a key from a copy of config.json if you are sure it does not."
            )

    def _take(self, key: str, default: Any) -> Any:
        self._read.add(key)
        value = self._values.get(key, default)
        if value is None and default is not _REQUIRED:
            return default
        if value is _REQUIRED:
            raise self.unsupported(key, _REQUIRED, "it is required")
        return value
