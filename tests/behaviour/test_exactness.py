"""The promise: greedy tokens equal `transformers.generate`, whatever the engine does to be fast.

40 prompts of 1 to 600 tokens in one batch, against the oracle in float32, for every model family. The full
product is taken of families, compositions, budgets and block sizes; roomy and tight memory, and the prefix
cache on and off, alternate over it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
from oracle import greedy_tokens, prompts_of_all_lengths

import fastgen

NEW_TOKENS = 16
PROMPTS = prompts_of_all_lengths(count=40, longest=600, vocab_size=512)
FAMILIES = ("tiny_llama", "tiny_mistral", "tiny_opt")


class Setting(NamedTuple):
    """One way to run the engine."""

    composition: str
    token_budget: int
    block_tokens: int
    kv_tokens: int
    prefix_cache: bool


ROOMY = 40 * (600 + NEW_TOKENS + 64)
TIGHT = 1280
"""Two of the longest sequences fit, and no more: preemption is certain."""

COMPOSITIONS = ("splitfuse", "prefill-first", "whole-prompt")
SETTINGS = [
    # Memory and prefix cache alternate, so that each meets each composition, budget and block size.
    Setting(composition, budget, block, TIGHT if (b + k) % 2 else ROOMY, (b + 2 * k + c) % 3 != 0)
    for c, composition in enumerate(COMPOSITIONS)
    for b, budget in enumerate((16, 64, 512))
    for k, block in enumerate((8, 16, 64))
]


@pytest.fixture(scope="module")
def expected(request: pytest.FixtureRequest) -> dict[str, list[list[int]]]:
    answers = {family: greedy_tokens(request.getfixturevalue(family), PROMPTS, NEW_TOKENS) for family in FAMILIES}
    for family, tokens in answers.items():
        assert len({token for answer in tokens for token in answer}) > 30, f"{family} says too little to compare"
    return answers


def kv_bytes(folder: Path, tokens: int) -> int:
    """Bytes that hold `tokens` tokens in float32."""
    import transformers

    config: Any = transformers.AutoConfig.from_pretrained(folder)
    kv_heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(tokens * config.num_hidden_layers * 2 * kv_heads * head_dim * 4)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: "-".join(map(str, s)))
def test_greedy_tokens_equal_transformers(
    family: str, setting: Setting, expected: dict[str, list[list[int]]], request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(family)
    with fastgen.pipeline(
        folder,
        dtype="float32",
        composition=setting.composition,
        token_budget=setting.token_budget,
        block_tokens=setting.block_tokens,
        kv_bytes=kv_bytes(folder, setting.kv_tokens),
        prefix_cache=setting.prefix_cache,
        max_model_tokens=700,
    ) as pipe:
        responses = pipe(PROMPTS, max_new_tokens=NEW_TOKENS, temperature=0.0, ignore_eos=True)
        preemptions = sum(response.timing.num_preemptions for response in responses)
    assert [list(response.token_ids) for response in responses] == expected[family]
    if setting.kv_tokens == TIGHT and setting.token_budget == 512:
        assert preemptions > 0, "memory was meant to be so small that somebody is preempted"


def test_greedy_tokens_equal_transformers_in_small(tiny_llama: Path) -> None:
    prompts = [prompt[:40] for prompt in PROMPTS[:8]]
    with fastgen.pipeline(
        tiny_llama,
        dtype="float32",
        token_budget=16,
        block_tokens=8,
        kv_bytes=kv_bytes(tiny_llama, 96),
        max_model_tokens=64,
    ) as pipe:
        responses = pipe(prompts, max_new_tokens=12, temperature=0.0, ignore_eos=True)
    assert [list(r.token_ids) for r in responses] == greedy_tokens(tiny_llama, prompts, 12)
    assert sum(r.timing.num_preemptions for r in responses) > 0
