"""Fixtures every room may use. Nothing here imports torch until a test asks for a model."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# The machine is small and tests start processes of their own: one thread each keeps them honest neighbours.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `cluster` are slow, too. Tests marked `gpu` are skipped where there is no CUDA device."""
    for item in items:
        if item.get_closest_marker("cluster"):
            item.add_marker("slow")
    for_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if not for_gpu:
        return
    import torch

    if not torch.cuda.is_available():
        for item in for_gpu:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(scope="session")
def models_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `tiny_model` may put folders that live as long as the test session."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def tiny_llama(models_folder: Path) -> Path:
    """Llama: rope, grouped queries, untied embeddings."""
    from tiny_models import tiny_model

    return tiny_model("llama", models_folder)


@pytest.fixture(scope="session")
def tiny_mistral(models_folder: Path) -> Path:
    """Mistral: a sliding window of 48 tokens."""
    from tiny_models import tiny_model

    return tiny_model("mistral", models_folder)


@pytest.fixture(scope="session")
def tiny_opt(models_folder: Path) -> Path:
    """OPT: learned positions, layer norms, biases, tied embeddings."""
    from tiny_models import tiny_model

    return tiny_model("opt", models_folder)
