"""The runner by itself: plans in, tokens out, and errors that leave it whole."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from oracle import greedy_tokens
from stepping import load_runner

from fastgen.core.plan import Admission, Chunk, StepOutput, StepPlan
from fastgen.core.sampling_params import SamplingParams
from fastgen.core.sequence import RunningSequence, SequenceRequest
from fastgen.errors import ModelError, OutOfMemoryError, UsageError
from fastgen.runtime.runner import resolve_device

GREEDY = SamplingParams(temperature=0.0)


def new_sequence(sequence_id: int, tokens: list[int]) -> RunningSequence:
    return RunningSequence(SequenceRequest(sequence_id, tuple(tokens), GREEDY, 0), 0.0, 100)


def test_one_plan_with_a_chunk_an_admission_and_a_decode(tiny_llama: Path) -> None:
    runner = load_runner(tiny_llama)
    first, second = [5 + i * 13 % 400 for i in range(30)], [9 + i * 29 % 400 for i in range(20)]
    sequences = {1: new_sequence(1, first), 2: new_sequence(2, second)}
    chunks = (Chunk(1, 0, 30, (8, 3), True, False),)
    output = runner.execute(StepPlan((), (Admission(1, (), 0),), chunks, 64), sequences)
    expected = greedy_tokens(tiny_llama, [first, second], 2)
    assert [sample.token_id for sample in output.samples] == expected[0][:1]

    sequences[1].token_ids.append(output.samples[0].token_id)
    sequences[1].blocks = [8, 3]
    mixed = (Chunk(1, 30, 1, (), True, True), Chunk(2, 0, 20, (5, 0), True, False))
    output = runner.execute(StepPlan((), (Admission(2, (), 0),), mixed, 64), sequences)
    assert [(s.sequence_id, s.token_id) for s in output.samples] == [(1, expected[0][1]), (2, expected[1][0])]


def test_a_plan_that_samples_nothing_and_an_empty_one(tiny_llama: Path) -> None:
    runner = load_runner(tiny_llama)
    sequences = {1: new_sequence(1, list(range(10, 40)))}
    assert runner.execute(StepPlan((), (), (Chunk(1, 0, 8, (0,), False, False),), 8), sequences) == StepOutput(())
    assert runner.execute(StepPlan((), (), (), 8), {}) == StepOutput(())


def test_out_of_memory_is_typed_and_the_next_step_works(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = load_runner(tiny_llama)
    prompt = list(range(10, 40))
    sequences = {1: new_sequence(1, prompt)}
    plan = StepPlan((), (), (Chunk(1, 0, 30, (0, 1), True, False),), 64)

    def exhausted(*_: object) -> torch.Tensor:
        # What the allocator says when it is asked for more than there is.
        return torch.empty(1 << 60, dtype=torch.uint8)

    with monkeypatch.context() as patch:
        patch.setattr(runner.decoder, "forward", exhausted)
        with pytest.raises(OutOfMemoryError, match=r"a step of 30 tokens ran out of memory .* lower token_budget"):
            runner.execute(plan, sequences)
    assert runner.execute(plan, sequences).samples[0].token_id == greedy_tokens(tiny_llama, [prompt], 1)[0][0]


def test_other_errors_stay_what_they_are(tiny_llama: Path) -> None:
    runner = load_runner(tiny_llama)
    sequences = {1: new_sequence(1, [9999])}
    with pytest.raises(IndexError):
        runner.execute(StepPlan((), (), (Chunk(1, 0, 1, (0,), True, False),), 64), sequences)


def test_dummy_steps_of_any_size_run(tiny_llama: Path) -> None:
    runner = load_runner(tiny_llama, max_sequences=1, max_model_tokens=64)
    for num_tokens, num_sequences in ((1, 1), (64, 1), (200, 7), (3, 9)):
        runner.forward_dummy(num_tokens, num_sequences)


def test_what_a_runner_says_about_itself(tiny_llama: Path) -> None:
    runner = load_runner(tiny_llama, max_model_tokens=128)
    assert runner.architecture == "LlamaForCausalLM"
    assert runner.vocab_size == 512
    assert runner.max_model_tokens == 128
    assert runner.eos_token_ids == (2,)
    other = load_runner(tiny_llama, dtype="bfloat16")
    assert runner.measurement_file("step-time") != other.measurement_file("step-time")
    assert runner.measurement_file("step-time") == load_runner(tiny_llama).measurement_file("step-time")


def test_weight_bytes_count_every_parameter_once(tiny_llama: Path) -> None:
    from safetensors.torch import load_file

    expected = sum(tensor.nbytes for tensor in load_file(tiny_llama / "model.safetensors").values())
    assert load_runner(tiny_llama).weight_bytes == expected


def test_eos_comes_from_generation_config_then_config(tiny_llama: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_llama, tmp_path / "model")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 7]}))
    assert load_runner(folder).eos_token_ids == (2, 7)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": "</s>"}))
    with pytest.raises(ModelError, match=r"generation_config.json: eos_token_id cannot be read"):
        load_runner(folder)
    (folder / "generation_config.json").unlink()
    assert load_runner(folder).eos_token_ids == (2,)


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    with pytest.raises(UsageError, match="device=tpu is not known; choose auto, cpu, cuda or cuda:N"):
        resolve_device("tpu")
    with pytest.raises(UsageError, match="device=cuda:99: this machine has"):
        resolve_device("cuda:99")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == torch.device("cpu")


def test_an_attention_backend_that_cannot_run_here_is_a_usage_error(tiny_llama: Path) -> None:
    with pytest.raises(UsageError, match="attention=flash_attn cannot run here"):
        load_runner(tiny_llama, attention="flash_attn", block_tokens=256, device="cpu")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no such folder"):
        load_runner(tmp_path / "nowhere")
