"""What `transformers` says: greedy tokens, one prompt at a time, in float32."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import torch
import transformers


def greedy_tokens(
    folder: Path, prompts: Sequence[Sequence[int]], new_tokens: int, device: str = "cpu"
) -> list[list[int]]:
    """New tokens of `transformers.generate` for each prompt, end-of-sequence ignored."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(device).eval()
    model.generation_config.eos_token_id = None
    answers = []
    with torch.inference_mode():
        for prompt in prompts:
            ids = torch.tensor([list(prompt)], device=device)
            out = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=new_tokens,
                pad_token_id=0,
            )
            answers.append(out[0, len(prompt) :].tolist())
    return answers


def prompts_of_all_lengths(count: int, longest: int, vocab_size: int, seed: int = 0) -> list[list[int]]:
    """`count` prompts of 1 to `longest` tokens; a third of them begin like another, so that prefixes hit."""
    rng = random.Random(seed)
    lengths = [1 + round(index * (longest - 1) / (count - 1)) for index in range(count)]
    rng.shuffle(lengths)
    stem = [rng.randrange(10, vocab_size) for _ in range(longest)]
    prompts = []
    for index, length in enumerate(lengths):
        own = [rng.randrange(10, vocab_size) for _ in range(length)]
        shared = length * 2 // 3 if index % 3 == 0 else 0
        prompts.append(stem[:shared] + own[shared:])
    return prompts
