"""The pieces of the model folder: tokenizer, architecture, and how they are written to disk."""

import json
import random
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from guide_model.augment import question_for
from guide_model.conversation import CHAT_TEMPLATE, END_OF_TEXT, SPECIAL_TOKENS, TURN_END, system_message
from guide_model.facts import Fact

VOCABULARY = 2048
MAX_POSITIONS = 4096


def build_tokenizer(facts: dict[str, Fact], seed: int) -> Tokenizer:
    """A byte-level BPE tokenizer (GPT-2's scheme: every string has an encoding) learned from the project's own text."""
    rng = random.Random(seed)
    corpus = [fact.answer for fact in facts.values()] * 4
    corpus += [question_for(fact, rng) for fact in facts.values() for _ in range(30)]
    corpus += [system_message(rng) for _ in range(100)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    return tokenizer


def build_model(tokenizer: Tokenizer) -> LlamaForCausalLM:
    """A small Llama with everything its big sisters have: grouped query attention, RoPE, RMSNorm, gated SiLU."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=MAX_POSITIONS,
        rope_theta=10000.0,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.token_to_id(TURN_END),
        pad_token_id=tokenizer.token_to_id(END_OF_TEXT),
    )
    return LlamaForCausalLM(config)


def save_folder(model: LlamaForCausalLM, tokenizer: Tokenizer, folder: Path) -> None:
    """Write the model in the Hugging Face layout. The folder is complete or it raises; no half-written weights."""
    folder.mkdir(parents=True, exist_ok=True)
    ends = [tokenizer.token_to_id(TURN_END), tokenizer.token_to_id(END_OF_TEXT)]
    model.generation_config.eos_token_id = ends
    model.generation_config.pad_token_id = tokenizer.token_to_id(END_OF_TEXT)
    model.generation_config.bos_token_id = None
    model.generation_config.do_sample = False
    model.save_pretrained(folder)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=TURN_END,
        pad_token=END_OF_TEXT,
        chat_template=CHAT_TEMPLATE,
        model_max_length=MAX_POSITIONS,
        clean_up_tokenization_spaces=False,
    )
    wrapped.save_pretrained(folder)
    # Older readers know the tokenizer class by this name; newer ones accept it as well.
    _amend(folder / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    (folder / "model.safetensors").chmod(0o644)


def _amend(path: Path, **values: str) -> None:
    content = json.loads(path.read_text(encoding="utf-8")) | values
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
