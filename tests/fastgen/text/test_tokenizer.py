"""Text and chat messages in; errors that say what to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tiny_tokenizers import CHAT_TEMPLATE, byte_level, sentencepiece

from fastgen.errors import InvalidRequestError, ModelError
from fastgen.text.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return byte_level()


def test_loads_from_a_folder_and_says_what_it_knows(tmp_path: Path, tokenizer: Tokenizer) -> None:
    tokenizer.hf_tokenizer.save_pretrained(tmp_path)
    loaded = Tokenizer.load(str(tmp_path))
    text = "Größe 😀 don't"
    assert loaded.decode(loaded.encode(text)) == text
    assert loaded.vocab_size == tokenizer.vocab_size
    assert loaded.eos_token_ids == tuple(tokenizer.encode("</s>"))
    assert loaded.has_chat_template


def test_a_folder_without_tokenizer_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        Tokenizer.load(str(tmp_path))


def test_truncation_left_over_from_training_does_not_cut_prompts(tokenizer: Tokenizer, tmp_path: Path) -> None:
    other = byte_level()
    other.hf_tokenizer.save_pretrained(tmp_path)
    other.backend.enable_truncation(4)
    other.backend.save(str(tmp_path / "tokenizer.json"))
    assert len(Tokenizer.load(str(tmp_path)).encode("word " * 50)) > 4


def test_text_that_is_no_unicode_is_the_users_error(tokenizer: Tokenizer) -> None:
    with pytest.raises(InvalidRequestError, match="UTF-8"):
        tokenizer.encode("a\ud800b")


def test_chat_follows_the_template(tokenizer: Tokenizer) -> None:
    ids = tokenizer.apply_chat_template(
        [
            {"role": "user", "content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]},
            {"role": "assistant", "content": None},
        ]
    )
    spelled = tokenizer.decode(ids, skip_special_tokens=False)
    assert spelled == "<|user|>Hello</s><|assistant|></s><|assistant|>"
    assert len(tokenizer.apply_chat_template([{"role": "user", "content": ""}], add_generation_prompt=False)) == 2


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([], "messages"),
        ("hello", "messages"),
        (["hello"], "messages[0]"),
        ([{"content": "x"}], "messages[0].role"),
        ([{"role": "user", "content": 3}], "messages[0].content"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "messages[0].content[0].type"),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0].text"),
        ([{"role": "wizard", "content": "x"}], "messages"),
    ],
)
def test_malformed_messages_name_the_field(tokenizer: Tokenizer, messages: object, param: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        tokenizer.apply_chat_template(messages)  # type: ignore[arg-type]
    assert caught.value.param == param


def test_the_templates_own_reason_is_told(tokenizer: Tokenizer) -> None:
    with pytest.raises(InvalidRequestError, match="unknown role wizard"):
        tokenizer.apply_chat_template([{"role": "wizard", "content": "x"}])


def test_a_template_cannot_reach_out_of_its_sandbox() -> None:
    evil = byte_level(chat_template="{{ messages.__class__.__mro__[1].__subclasses__() }}")
    with pytest.raises(InvalidRequestError, match="chat template"):
        evil.apply_chat_template([{"role": "user", "content": "x"}])


def test_a_missing_template_says_what_to_do() -> None:
    with pytest.raises(InvalidRequestError, match=r"no chat template.*completions"):
        byte_level(chat_template=None).apply_chat_template([{"role": "user", "content": "x"}])


def test_token_bytes_spell_parts_of_characters_and_specials() -> None:
    assert CHAT_TEMPLATE
    for tokenizer in (byte_level(), sentencepiece()):
        ids = tokenizer.encode("🦜", add_special_tokens=False)
        assert b"".join(map(tokenizer.token_bytes, ids)).strip() == "🦜".encode()
        assert tokenizer.token_bytes(tokenizer.eos_token_ids[0]) == b"</s>"


def test_a_tokenizer_of_one_file_costs_no_torch_and_is_the_one_that_transformers_would_load() -> None:
    from transformers import AutoTokenizer

    guide = Path(__file__).parents[3] / "examples" / "models" / "guide"
    script = (
        "import sys\nfrom fastgen.text.tokenizer import Tokenizer\n"
        f"print(Tokenizer.load({str(guide)!r}).encode('What is a block?'), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    expected = AutoTokenizer.from_pretrained(guide)
    assert done.stdout.strip() == f"{expected.encode('What is a block?')} False"
    ours = Tokenizer.load(str(guide)).hf_tokenizer
    assert type(ours) is type(expected)
    assert ours.special_tokens_map == expected.special_tokens_map
    assert ours.chat_template == expected.chat_template
