"""Driving a runner by hand: sequences cut into chunks of any size, interleaved in ragged steps."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import torch

from fastgen.config import EngineConfig
from fastgen.runtime.batches import BatchRow
from fastgen.runtime.runner import Runner


def load_runner(folder: Path, **config: object) -> Runner:
    """A runner in float32 on the CPU with room for a few sequences; `config` overrides."""
    settings = {"dtype": "float32", "device": "cpu", "max_sequences": 8, "linear": "plain", **config}
    return Runner.load(EngineConfig(model=str(folder), **settings))  # type: ignore[arg-type]


def ragged_logits(
    runner: Runner, prompts: Sequence[Sequence[int]], *, most: int = 40, seed: int = 0
) -> list[torch.Tensor]:
    """Logits [len(prompt), vocab] of the positions where a chunk ended; nan elsewhere.

    Each step takes 1 to `most` tokens of some of the prompts, in scattered blocks.
    """
    rng = random.Random(seed)
    per_prompt = -(-max(map(len, prompts)) // runner.block_tokens)
    pool = rng.sample(range(runner.num_blocks), per_prompt * len(prompts))
    blocks = [tuple(pool[i * per_prompt : (i + 1) * per_prompt]) for i in range(len(prompts))]
    found = [torch.full((len(prompt), runner.vocab_size), float("nan")) for prompt in prompts]
    done = [0] * len(prompts)
    while waiting := [i for i, prompt in enumerate(prompts) if done[i] < len(prompt)]:
        chosen = rng.sample(waiting, rng.randint(1, len(waiting)))
        rows, ends = [], []
        for i in chosen:
            size = min(rng.choice([1, 1, rng.randint(1, most)]), len(prompts[i]) - done[i])
            held = blocks[i][: -(-(done[i] + size) // runner.block_tokens)]
            rows.append(BatchRow(list(prompts[i][done[i] : done[i] + size]), done[i], held, True, len(prompts[i])))
            done[i] += size
            ends.append((i, done[i] - 1))
        logits = runner.forward(rows)
        for (i, position), row in zip(ends, logits, strict=True):
            found[i][position] = row
    return found


def oracle_logits(folder: Path, prompts: Sequence[Sequence[int]]) -> list[torch.Tensor]:
    """transformers' float32 logits [len(prompt), vocab], one prompt at a time."""
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        return [model(torch.tensor([list(prompt)])).logits[0] for prompt in prompts]


def worst_difference(found: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> float:
    """The largest difference at the positions that were asked for; fails where nothing was."""
    worst = 0.0
    for ours, theirs in zip(found, expected, strict=True):
        seen = ~ours.isnan().any(dim=1)
        assert seen[-1], "the last position is always a chunk's end"
        worst = max(worst, (ours[seen] - theirs[seen]).abs().max().item())
    return worst
