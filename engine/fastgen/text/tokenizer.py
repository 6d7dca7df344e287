"""The model's tokenizer: text and chat messages to token ids, and back."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastgen.errors import InvalidRequestError, ModelError
from fastgen.text.chat import render_chat
from fastgen.text.pieces import piece_rules

SELF_CONTAINED = ("PreTrainedTokenizerFast", "TokenizersBackend")
"""Two names of one class: a tokenizer.json and nothing else."""


class Tokenizer:
    """A Hugging Face tokenizer without its surprises: no truncation, no padding, no remote code, safe in threads."""

    def __init__(self, hf_tokenizer: Any) -> None:
        self.hf_tokenizer = hf_tokenizer
        self.backend: Any = getattr(hf_tokenizer, "backend_tokenizer", None)
        """The tokenizers library's own object, or none for a tokenizer written in Python."""
        self._special_ids: frozenset[int] = frozenset(hf_tokenizer.all_special_ids)
        self._rules = None
        if self.backend is not None:
            # A tokenizer.json may carry settings of its training; they would cut prompts silently.
            self.backend.no_truncation()
            self.backend.no_padding()
            added = self.backend.get_added_tokens_decoder()
            self._special_ids = frozenset(token_id for token_id, token in added.items() if token.special)
            self._rules = piece_rules(self.backend)
        # Per tokenizer, not per class: a cache on the method would keep every tokenizer alive.
        self.piece = functools.cache(self._piece)

    @classmethod
    def load(cls, folder_or_id: str, revision: str | None = None) -> Tokenizer:
        """Load from a folder or a hub id. Raises ModelError saying what is missing."""
        try:
            if _is_self_contained(Path(folder_or_id)):
                from transformers import PreTrainedTokenizerFast as Loader
            else:
                from transformers import AutoTokenizer as Loader
            found = Loader.from_pretrained(folder_or_id, revision=revision, trust_remote_code=False)
        except Exception as error:  # transformers raises whatever its parsers raise
            raise ModelError(
                f"cannot load a tokenizer from {folder_or_id}: {error}; the folder needs tokenizer.json "
                "(or the model's own tokenizer files) and tokenizer_config.json"
            ) from error
        return cls(found)

    @property
    def vocab_size(self) -> int:
        """Ids below this have a meaning; a model's logits may be padded past it."""
        return len(self.hf_tokenizer)

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        eos = self.hf_tokenizer.eos_token_id
        return () if eos is None else (int(eos),)

    @property
    def has_chat_template(self) -> bool:
        return bool(self.hf_tokenizer.chat_template)

    @property
    def decodes_by_piece(self) -> bool:
        """Whether each token's bytes are known by themselves (see pieces.py)."""
        return self._rules is not None

    @property
    def strips_first_space(self) -> bool:
        return self._rules is not None and self._rules.strips_first_space

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """Token ids of `text`. Raises InvalidRequestError for text that is no Unicode (lone surrogates)."""
        try:
            if self.backend is None:
                return list(self.hf_tokenizer.encode(text, add_special_tokens=add_special_tokens))
            return list(self.backend.encode(text, add_special_tokens=add_special_tokens).ids)
        except (UnicodeError, TypeError) as error:
            raise InvalidRequestError(f"the text cannot be encoded as UTF-8: {error}", param="prompt") from error

    def apply_chat_template(
        self, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = True
    ) -> list[int]:
        """Token ids of a conversation, in the words of the model's own template.

        Raises InvalidRequestError where there is no template, or where it refuses the messages.
        """
        text = render_chat(self.hf_tokenizer, messages, add_generation_prompt)
        # The template writes the special tokens itself.
        return self.encode(text, add_special_tokens=False)

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """The text of `token_ids`, exactly as spelled: no cleaning up of spaces."""
        if self.backend is not None:
            return str(self.backend.decode(list(token_ids), skip_special_tokens=skip_special_tokens))
        return str(
            self.hf_tokenizer.decode(
                list(token_ids), skip_special_tokens=skip_special_tokens, clean_up_tokenization_spaces=False
            )
        )

    def is_special(self, token_id: int) -> bool:
        return token_id in self._special_ids

    def token_bytes(self, token_id: int) -> bytes:
        """What one token spells, special tokens by their name: for lists of log-probabilities."""
        if self._rules is not None and token_id not in self._special_ids:
            return self.piece(token_id)
        return self.decode([token_id], skip_special_tokens=False).encode()

    def _piece(self, token_id: int) -> bytes:
        """The bytes of a token within a text: none for special tokens and for ids outside the vocabulary."""
        if self._rules is None or self.backend is None or token_id in self._special_ids:
            return b""
        token = self.backend.id_to_token(token_id)
        return b"" if token is None else self._rules.to_bytes(token)


def _is_self_contained(folder: Path) -> bool:
    """Whether tokenizer.json holds all there is to know, with no class of transformers' own around it. AutoTokenizer
    would load the same, after seconds of processor time for the modules of every model and of PyTorch's compiler."""
    if not (folder / "tokenizer.json").is_file():
        return False
    try:
        settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(settings, dict) and settings.get("tokenizer_class") in SELF_CONTAINED
