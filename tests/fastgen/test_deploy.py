"""From the arguments of `fastgen.serve` to a manifest; that it runs is in tests/behaviour."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fastgen
from fastgen.contract.manifest import FastGenDeployment
from fastgen.deploy import default_name, manifest_of
from fastgen.errors import FastGenError, UnknownOptionError, UsageError
from fastgen.local_state import StateLock, is_locked, read_record


def manifest(model: str | Path = "org/model", **engine: Any) -> FastGenDeployment:
    return manifest_of(model, name="llama", replicas=2, revision=None, sla={}, engine=engine)


def test_options_of_the_engine_are_those_of_the_pipeline() -> None:
    spec = manifest(
        dtype="float32", token_budget=64, block_tokens=32, kv_bytes=2**20, memory_fraction=0.5, prefix_cache=False,
        composition="whole-prompt", linear="plain",
    ).spec  # fmt: skip
    assert (spec.engine.dtype, spec.engine.token_budget, spec.engine.block_tokens) == ("float32", 64, 32)
    assert (spec.engine.kv_bytes, spec.engine.memory_fraction, spec.engine.prefix_cache) == (2**20, "0.5", False)
    assert spec.replicas == 2
    assert manifest(token_budget=None).spec.engine.token_budget == "auto"


def test_wrong_options_say_what_is_right() -> None:
    with pytest.raises(UnknownOptionError, match="did you mean 'token_budget'"):
        manifest(token_budgt=64)
    with pytest.raises(UsageError, match=r"spec.engine.dtype: given \"fp16\"; allowed: auto, float32"):
        manifest(dtype="fp16")


def test_a_model_is_a_folder_or_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert manifest(tmp_path).spec.model.source == f"file://{tmp_path}"
    monkeypatch.chdir(tmp_path.parent)
    assert manifest(tmp_path.name).spec.model.source == f"file://{tmp_path}"
    assert manifest("meta-llama/Llama-2-7b").spec.model.source == "hf://meta-llama/Llama-2-7b"
    for wrong in ("./nothing", "/nothing", Path("org/model"), "nothing"):
        with pytest.raises(UsageError, match="there is no folder"):
            manifest(wrong)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("meta-llama/Llama-2-7b-chat-hf", "llama-2-7b-chat-hf"),
        ("/models/Guide_v1.2/", "guide-v1-2"),
        ("org/7B", "model-7b"),
        ("org/" + "x" * 60, "x" * 40),
    ],
)
def test_a_name_from_the_models(model: str, name: str) -> None:
    assert default_name(model) == name


def test_a_name_that_runs_is_not_started_again(tmp_path: Path) -> None:
    lock = StateLock(tmp_path / "llama")
    with pytest.raises(UsageError, match=r"'llama' is running already: fastgen\.client\('llama'\) attaches"):
        fastgen.serve("org/model", name="llama", state_dir=tmp_path)
    lock.release()


def test_what_cannot_be_planned_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "no-model").mkdir()
    with pytest.raises(FastGenError, match=r"(?s)'no-model' could not be started.*holds no config\.json"):
        fastgen.serve(tmp_path / "no-model", state_dir=tmp_path / "state", device="cpu", timeout_seconds=120)
    assert read_record(tmp_path / "state" / "no-model") is None


def test_one_that_takes_too_long_is_ended_again(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(FastGenError, match=r"'late' was not ready after 0\.1 s and is ended again"):
        fastgen.serve(tmp_path, name="late", state_dir=tmp_path, device="cpu", timeout_seconds=0.1)
    assert not is_locked(tmp_path / "late")
    assert read_record(tmp_path / "late") is None


@pytest.mark.slow
def test_what_cannot_start_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["MambaForCausalLM"], "model_type": "mamba"}')
    with pytest.raises(FastGenError, match=r"(?s)replica-0 cannot be brought up: it was refused.*Mamba"):
        fastgen.serve(tmp_path, name="mamba", state_dir=tmp_path / "state", device="cpu", timeout_seconds=120)
    assert read_record(tmp_path / "state" / "mamba") is None
