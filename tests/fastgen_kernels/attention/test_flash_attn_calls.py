"""What the flash_attn backend asks its package for, with stand-ins written from the package's documentation.

The real kernels need a GPU: test_on_gpu.py. Here: sequences split into decodes and chunks, rows put back
where they came from, tables and lengths those of the right sequence, windows counted as the package counts.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from ragged_batches import attend, attention_shape, ragged_step


def one_sequence(
    q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float, window: tuple[int, int]
) -> torch.Tensor:
    """Causal from the bottom right; query i sees [i + sk - sq - window[0], i + sk - sq + window[1]]."""
    group = q.shape[1] // keys.shape[1]
    keys, values = keys.repeat_interleave(group, 1), values.repeat_interleave(group, 1)
    at = torch.arange(q.shape[0])[:, None] + keys.shape[0] - q.shape[0]
    other = torch.arange(keys.shape[0])[None]
    visible = (other <= at) & ((window[0] < 0) | (other >= at - window[0]))
    scores = torch.einsum("qhd,khd->hqk", q.float(), keys.float()) * scale
    weights = scores.masked_fill(~visible, float("-inf")).softmax(-1)
    return torch.einsum("hqk,khd->qhd", weights, values.float()).to(q.dtype)


def gathered(cache: torch.Tensor, table: torch.Tensor, length: int) -> torch.Tensor:
    assert cache.shape[1] % 256 == 0
    return cache[table.long()].flatten(0, 1)[:length]


def with_kvcache(q: Any, keys: Any, values: Any, **options: Any) -> torch.Tensor:
    assert options["causal"]
    assert options["cache_seqlens"].dtype == options["block_table"].dtype == torch.int32
    rows = [
        one_sequence(
            row, gathered(keys, table, n), gathered(values, table, n), options["softmax_scale"], options["window_size"]
        )
        for row, table, n in zip(q, options["block_table"], options["cache_seqlens"].tolist(), strict=True)
    ]
    return torch.stack(rows)


def varlen(q: Any, keys: Any, values: Any, starts_q: Any, starts_k: Any, max_q: int, max_k: int, **options: Any) -> Any:
    assert options["causal"]
    assert starts_q.dtype == starts_k.dtype == options["block_table"].dtype == torch.int32
    lens_q, lens_k = starts_q.diff().tolist(), starts_k.diff().tolist()
    assert (max_q, max_k) == (max(lens_q), max(lens_k))
    parts = zip(q.split(lens_q), options["block_table"], lens_k, strict=True)
    return torch.cat(
        [
            one_sequence(
                rows,
                gathered(keys, table, n),
                gathered(values, table, n),
                options["softmax_scale"],
                options["window_size"],
            )
            for rows, table, n in parts
        ]
    )


@pytest.fixture
def backend_class(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """FlashAttention, imported over the stand-ins, and forgotten afterwards."""
    name = "fastgen_kernels.attention.flash_attn"
    stand_in = ModuleType("flash_attn")
    stand_in.flash_attn_with_kvcache = with_kvcache  # type: ignore[attr-defined]
    stand_in.flash_attn_varlen_func = varlen  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flash_attn", stand_in)
    monkeypatch.delitem(sys.modules, name, raising=False)
    from importlib import import_module

    yield import_module(name).FlashAttention
    sys.modules.pop(name, None)


@pytest.mark.parametrize("window", [None, 100])
@pytest.mark.parametrize(
    "sizes",
    [
        [(1, 300), (1, 2), (1, 256)],
        [(5, 300), (40, 40)],
        [(1, 300), (1, 7), (30, 600), (2, 2)],
        [(30, 600), (1, 9), (3, 3), (1, 513)],
    ],
)
def test_agrees_with_the_reference(backend_class: Any, sizes: list[tuple[int, int]], window: int | None) -> None:
    step = ragged_step(attention_shape(block_tokens=256, window_tokens=window), sizes, swaps=7)
    expected = attend("reference", step)
    backend = backend_class(step.shape)
    torch.testing.assert_close(
        backend.attend(step.q, step.k, step.v, step.cache, backend.plan(step.batch)), expected, atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize(
    ("shape", "dtype", "words"),
    [
        ({"block_tokens": 16}, torch.bfloat16, "block_tokens=16 does not work with attention=flash_attn"),
        ({"block_tokens": 256}, torch.float32, "bfloat16 and float16, not float32"),
        ({"block_tokens": 256, "head_dim": 12}, torch.bfloat16, "not 12"),
        ({"block_tokens": 256}, torch.bfloat16, "need a GPU and the model is on cpu"),
    ],
)
def test_says_why_it_cannot_run(backend_class: Any, shape: dict[str, int], dtype: torch.dtype, words: str) -> None:
    assert words in backend_class.unavailable_reason(attention_shape(**shape), torch.device("cpu"), dtype)
