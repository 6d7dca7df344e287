"""Folders, hub ids, and what is said where neither works: against a hub on loopback, in processes of their own
(huggingface_hub reads its environment when it is imported)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_hub import COMMIT, FakeHub

from fastgen.errors import ModelError
from fastgen.runtime.hub import resolve_model_folder

SCRIPT = """
import sys
from fastgen.errors import ModelError
from fastgen.runtime.hub import resolve_model_folder
try:
    print(resolve_model_folder(sys.argv[1], sys.argv[2] or None))
except ModelError as error:
    print("ModelError:", error)
assert "torch" not in sys.modules
"""


def resolve(model: str, cache: Path, revision: str = "", **environment: str) -> str:
    """What a fresh process says about `model`."""
    root = Path(__file__).parents[3]
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, model, revision],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=cache,
        check=True,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(root / "engine"),
            "HF_HOME": str(cache),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            **environment,
        },
    )
    return result.stdout.strip()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    (tmp_path / "hub_home").mkdir()
    return tmp_path / "hub_home"


def test_a_folder_is_itself(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_model_folder(str(tiny_llama)) == tiny_llama
    monkeypatch.chdir(tiny_llama.parent)
    assert resolve_model_folder(tiny_llama.name) == Path(tiny_llama.name)


@pytest.mark.parametrize("model", ["/no/such/folder", "./missing", "~/nothing/here", "a/b/c", "models/", "with space"])
def test_what_looks_like_a_path_is_never_looked_up_on_the_hub(model: str) -> None:
    with pytest.raises(ModelError, match="there is no such folder"):
        resolve_model_folder(model)


def test_a_file_is_no_folder(tiny_llama: Path) -> None:
    with pytest.raises(ModelError, match="is a file; give the folder"):
        resolve_model_folder(str(tiny_llama / "model.safetensors"))


@pytest.mark.slow
def test_a_model_is_fetched_once_then_found_offline(cache: Path, tiny_llama: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for path in tiny_llama.iterdir():
        (source / path.name).write_bytes(path.read_bytes())
    (source / "pytorch_model.bin").write_bytes(b"never fetched")
    with FakeHub({"org/model": source}) as hub:
        folder = Path(resolve("org/model", cache, HF_ENDPOINT=hub.url))
        assert (folder / "model.safetensors").read_bytes() == (source / "model.safetensors").read_bytes()
        assert folder.name == COMMIT
        assert "pytorch_model.bin" not in hub.fetched
        missing = resolve("org/model", cache, "v9", HF_ENDPOINT=hub.url)
    assert missing == "ModelError: the hub has org/model, but no revision v9; check revision="
    assert resolve("org/model", cache, HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="1") == str(folder)
    assert resolve("org/model", cache, HF_ENDPOINT=hub.url) == str(folder), "a hub that is gone needs no switch"


@pytest.mark.slow
def test_refusals_say_what_to_do(cache: Path, tiny_llama: Path) -> None:
    with FakeHub({"org/gated": tiny_llama}, gated=("org/gated",)) as hub:
        refused = resolve("org/gated", cache, HF_ENDPOINT=hub.url)
        assert "the hub refuses org/gated: it is gated; accept its terms" in refused
        assert "set HF_TOKEN" in refused
        unknown = resolve("org/unknown", cache, HF_ENDPOINT=hub.url, HF_TOKEN="hf_right")
        assert "is neither a folder here" in unknown
        assert "set HF_TOKEN if it is private" in unknown
        assert Path(resolve("org/gated", cache, HF_ENDPOINT=hub.url, HF_TOKEN="hf_right")).name == COMMIT


@pytest.mark.slow
def test_a_hub_that_cannot_be_reached(cache: Path) -> None:
    with FakeHub({}) as hub:
        pass
    unreachable = resolve("org/model", cache, HF_ENDPOINT=hub.url)
    assert f"the hub at {hub.url} cannot be reached" in unreachable
    assert "check the network, or give a folder" in unreachable
    offline = resolve("org/model", cache, HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE forbids fetching it" in offline
