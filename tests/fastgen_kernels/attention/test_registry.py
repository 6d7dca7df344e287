"""Choosing a backend: the fastest that runs, or a clear word on why not."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from ragged_batches import attention_shape

from fastgen_kernels.attention.registry import AttentionUnavailableError, select_backend

CPU = torch.device("cpu")


def test_auto_is_the_fast_one_on_a_cpu() -> None:
    assert select_backend("auto", attention_shape(), CPU, torch.float32).name == "cpu"


def test_the_reference_runs_where_asked_for() -> None:
    assert select_backend("reference", attention_shape(), CPU, torch.bfloat16).name == "reference"


@pytest.mark.parametrize("name", ["triton", "flash_attn"])
def test_a_gpu_backend_on_a_cpu_says_why_and_what_else(name: str) -> None:
    with pytest.raises(AttentionUnavailableError, match=rf"attention={name} cannot run here: .*one of: cpu, reference"):
        select_backend(name, attention_shape(block_tokens=256), CPU, torch.bfloat16)


def test_the_cpu_backend_refuses_a_gpu() -> None:
    with pytest.raises(AttentionUnavailableError, match="runs on a CPU and the model is on cuda"):
        select_backend("cpu", attention_shape(), torch.device("cuda", 0), torch.float32)


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(AttentionUnavailableError, match=r"no such backend.*reference, cpu, triton, flash_attn"):
        select_backend("flashy", attention_shape(), CPU, torch.float32)


@pytest.mark.slow
def test_backends_are_imported_only_when_asked_for() -> None:
    script = (
        "import sys, torch\n"
        "from fastgen_kernels.attention.base import AttentionShape\n"
        "from fastgen_kernels.attention.registry import select_backend\n"
        "select_backend('auto', AttentionShape(2, 1, 16, 16, 0.25, None), torch.device('cpu'), torch.float32)\n"
        "assert 'flash_attn' not in sys.modules\n"
        "assert not any(name.endswith(('attention.triton', 'attention.flash_attn')) for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, env={"PYTHONPATH": ":".join(sys.path)})
