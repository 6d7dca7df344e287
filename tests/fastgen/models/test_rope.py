"""Rope by the numbers, and the one kind whose angles depend on more than the position."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from oracle import greedy_tokens
from stepping import load_runner
from tiny_models import tiny_model

import fastgen
from fastgen.core.plan import Chunk, StepPlan
from fastgen.core.sampling_params import SamplingParams
from fastgen.core.sequence import RunningSequence, SequenceRequest
from fastgen.errors import ModelError
from fastgen.models.config_file import ConfigFile
from fastgen.models.rope import Rope, read_rope
from fastgen.runtime.runner import Runner

DYNAMIC = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}


def rope_of(values: dict[str, Any], positions: int = 2048) -> tuple[Rope, int]:
    spec, context_tokens = read_rope(ConfigFile(values, Path("config.json")), 16, positions)
    return Rope(spec, torch.device("cpu")), context_tokens


def test_old_and_new_spelling_mean_the_same() -> None:
    old, old_context = rope_of({"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2.0}})
    new, new_context = rope_of({"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 5e5}})
    assert old.spec == new.spec
    assert old_context == new_context == 4096


def test_the_context_that_scaling_allows() -> None:
    llama3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    assert rope_of({"rope_scaling": {**llama3, "original_max_position_embeddings": 256}})[1] == 2048
    assert rope_of({"rope_scaling": {**DYNAMIC}})[1] == 8192
    yarn = {"rope_type": "yarn", "factor": 4.0}
    assert rope_of({"rope_scaling": {**yarn, "original_max_position_embeddings": 512}})[1] == 2048
    assert rope_of({"rope_scaling": yarn})[1] == 8192
    assert rope_of({})[1] == 2048


@pytest.mark.parametrize(
    ("section", "named"),
    [
        ({"rope_type": "longrope", "factor": 2.0}, 'rope_scaling.rope_type is "longrope"; supported: default, linear'),
        ({"rope_type": "linear"}, "rope_scaling.factor is missing"),
        ({"rope_type": "linear", "factor": 0.5}, "rope_scaling.factor is 0.5; supported: a number of at least 1"),
        ({"rope_type": "linear", "factor": "2"}, 'rope_scaling.factor is "2"; supported: a number'),
        ({"rope_type": "llama3", "factor": 8.0}, "rope_scaling.low_freq_factor is missing"),
        ({"rope_type": "linear", "factor": 2.0, "mystery": 3}, "rope_scaling.mystery=3"),
        ({"rope_type": "default", "partial_rotary_factor": 0.5}, "rope_scaling.partial_rotary_factor is 0.5"),
    ],
)
def test_what_is_not_supported_is_named(section: dict[str, Any], named: str) -> None:
    with pytest.raises(ModelError) as error:
        rope_of({"rope_scaling": section})
    assert named in str(error.value)


def greedy_by_hand(runner: Runner, prompt: list[int], new_tokens: int, cut: int) -> list[int]:
    """Greedy tokens through hand-made plans: the prompt in two chunks, then decodes."""
    params = SamplingParams(temperature=0.0, ignore_eos=True)
    sequence = RunningSequence(SequenceRequest(7, tuple(prompt), params, 0), 0.0, runner.max_model_tokens)
    sequence.blocks = list(range(-(-(len(prompt) + new_tokens) // runner.block_tokens)))
    for start, end in ((0, cut), (cut, len(prompt))):
        chunk = Chunk(7, start, end - start, (), end == len(prompt), False)
        output = runner.execute(StepPlan((), (), (chunk,), 64), {7: sequence})
    for _ in range(new_tokens):
        sequence.token_ids.append(output.samples[0].token_id)
        chunk = Chunk(7, sequence.num_tokens - 1, 1, (), True, True)
        output = runner.execute(StepPlan((), (), (chunk,), 64), {7: sequence})
    return sequence.token_ids[len(prompt) :]


def test_dynamic_rope_turns_as_generate_does(models_folder: Path) -> None:
    """A whole prompt by its own length, each later token by the length reached: also across the trained context."""
    folder = tiny_model("llama", models_folder, max_position_embeddings=64, rope_parameters=DYNAMIC)
    runner = load_runner(folder)
    assert runner.max_model_tokens == 256
    for length in (20, 50, 64, 120):
        prompt = [(11 * i * i + length) % 500 + 10 for i in range(length)]
        assert greedy_by_hand(runner, prompt, 30, cut=length // 3) == greedy_tokens(folder, [prompt], 30)[0], length


def test_dynamic_rope_shares_no_prefixes_beyond_the_trained_context(models_folder: Path, tiny_llama: Path) -> None:
    folder = tiny_model("llama", models_folder, max_position_embeddings=64, rope_parameters=DYNAMIC)
    assert not load_runner(folder).shares_prefixes
    assert load_runner(folder, max_model_tokens=64).shares_prefixes
    assert load_runner(tiny_llama).shares_prefixes


def test_config_files_on_disk_have_the_spelling_we_read(tiny_llama: Path) -> None:
    values = json.loads((tiny_llama / "config.json").read_text())
    assert values["rope_parameters"] == {"rope_theta": 10000.0, "rope_type": "default"}


def test_dynamic_rope_through_the_whole_engine(models_folder: Path) -> None:
    """Prompts that begin alike, cut into small chunks, preempted for want of blocks: the prefix cache must stay out."""
    folder = tiny_model("llama", models_folder, max_position_embeddings=64, rope_parameters=DYNAMIC)
    stem = [(13 * i * i + 3) % 500 + 10 for i in range(100)]
    prompts = [[*stem[:keep], *range(20, 20 + more)] for keep, more in ((90, 5), (90, 30), (40, 3), (100, 1))]
    runner = load_runner(folder)
    bytes_per_block = runner.kv_bytes // runner.num_blocks
    with fastgen.pipeline(
        folder, dtype="float32", token_budget=32, max_model_tokens=160, kv_bytes=14 * bytes_per_block
    ) as pipe:
        responses = pipe(prompts, max_new_tokens=24, temperature=0.0, ignore_eos=True)
    assert [list(response.token_ids) for response in responses] == greedy_tokens(folder, prompts, 24)
    assert sum(response.timing.num_preemptions for response in responses) > 0
