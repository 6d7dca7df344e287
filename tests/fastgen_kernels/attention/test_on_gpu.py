"""The GPU backends against the reference on the device itself."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from ragged_batches import AttentionStep, attend, attention_shape, ragged_step

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 2e-2, torch.float16: 4e-3}
SIZES = [(1, 1500), (1, 3), (1, 257), (130, 700), (64, 64), (2, 2), (17, 900)]


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("window", [None, 200])
@pytest.mark.parametrize("block_tokens", [1, 16, 256])
@pytest.mark.parametrize(("heads", "kv_heads", "head_dim"), [(8, 8, 64), (8, 2, 80), (6, 2, 96), (32, 8, 128)])
def test_triton(
    dtype: torch.dtype, window: int | None, block_tokens: int, heads: int, kv_heads: int, head_dim: int
) -> None:
    shape = attention_shape(heads, kv_heads, head_dim, block_tokens, window)
    check("triton", ragged_step(shape, SIZES, dtype=dtype, device="cuda", swaps=50))


def test_triton_with_few_and_with_many_long_decodes() -> None:
    for sizes in ([(1, 9000)], [(1, 700 + n) for n in range(64)]):
        shape = attention_shape(32, 8, 128)
        check("triton", ragged_step(shape, sizes, dtype=torch.bfloat16, device="cuda", swaps=50))


@pytest.mark.skipif(importlib.util.find_spec("flash_attn") is None, reason="flash-attn is not installed")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("window", [None, 200])
@pytest.mark.parametrize(("heads", "kv_heads", "head_dim"), [(8, 8, 64), (32, 8, 128)])
def test_flash_attn(dtype: torch.dtype, window: int | None, heads: int, kv_heads: int, head_dim: int) -> None:
    shape = attention_shape(heads, kv_heads, head_dim, 256, window)
    for sizes in (SIZES, SIZES[:3], SIZES[3:]):
        check("flash_attn", ragged_step(shape, sizes, dtype=dtype, device="cuda", swaps=50))


def check(name: str, step: AttentionStep) -> None:
    tolerance = TOLERANCE[step.q.dtype]
    actual, expected = attend(name, step), attend("reference", step)
    torch.testing.assert_close(actual.float(), expected.float(), atol=tolerance, rtol=tolerance)
