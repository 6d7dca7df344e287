"""Random steps for attention backends: a ragged batch, a cache full of history, and this step's q, k, v."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

import torch

from fastgen_kernels.attention.base import AttentionShape, LayerCache
from fastgen_kernels.attention.registry import select_backend
from fastgen_kernels.batch import RaggedBatch


class AttentionStep(NamedTuple):
    shape: AttentionShape
    batch: RaggedBatch
    cache: LayerCache
    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor


def attention_shape(
    num_heads: int = 4,
    num_kv_heads: int = 2,
    head_dim: int = 16,
    block_tokens: int = 16,
    window_tokens: int | None = None,
) -> AttentionShape:
    return AttentionShape(num_heads, num_kv_heads, head_dim, block_tokens, head_dim**-0.5, window_tokens)


def ragged_step(
    shape: AttentionShape,
    sizes: Sequence[tuple[int, int]],
    *,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    swaps: int = 0,
    memory_order: tuple[int, int, int, int] = (0, 1, 2, 3),
    seed: int = 0,
) -> AttentionStep:
    """`sizes`: (query tokens, context tokens) of each sequence. `swaps` pairs of blocks change places, so that
    0 leaves every table one run and many leave none. Block 0 is nobody's."""
    generator = torch.Generator().manual_seed(seed)
    tables = _tables(sizes, shape.block_tokens, swaps, random.Random(seed))
    num_blocks = sum(map(len, tables)) + 1
    batch = ragged_batch(sizes, tables, shape.block_tokens, device)
    cache = LayerCache(*(_filled(shape, num_blocks, sizes, tables, generator) for _ in range(2)))
    back = tuple(memory_order.index(dimension) for dimension in range(4))
    lying = (each.to(device, dtype).permute(memory_order).contiguous().permute(back) for each in cache)

    def rows(heads: int) -> torch.Tensor:
        return torch.randn(batch.num_tokens, heads, shape.head_dim, generator=generator).to(device, dtype)

    kv_heads = shape.num_kv_heads
    return AttentionStep(shape, batch, LayerCache(*lying), rows(shape.num_heads), rows(kv_heads), rows(kv_heads))


def ragged_batch(
    sizes: Sequence[tuple[int, int]], tables: Sequence[tuple[int, ...]], block_tokens: int, device: str = "cpu"
) -> RaggedBatch:
    positions = [p for query_len, context_len in sizes for p in range(context_len - query_len, context_len)]
    owners = [s for s, (query_len, _) in enumerate(sizes) for _ in range(query_len)]
    slots = [
        tables[s][p // block_tokens] * block_tokens + p % block_tokens for s, p in zip(owners, positions, strict=True)
    ]
    starts = [0]
    for query_len, _ in sizes:
        starts.append(starts[-1] + query_len)
    widest = max(map(len, tables))
    return RaggedBatch(
        token_ids=torch.zeros(len(positions), dtype=torch.int64, device=device),
        positions=torch.tensor(positions, device=device),
        slots=torch.tensor(slots, device=device),
        query_starts=torch.tensor(starts, dtype=torch.int32, device=device),
        context_lens=torch.tensor([context_len for _, context_len in sizes], dtype=torch.int32, device=device),
        block_tables=torch.tensor(
            [[*table, *[0] * (widest - len(table))] for table in tables], dtype=torch.int32, device=device
        ),
        logit_rows=torch.tensor(starts[1:], device=device) - 1,
        host_query_lens=tuple(query_len for query_len, _ in sizes),
        host_context_lens=tuple(context_len for _, context_len in sizes),
        host_block_tables=tuple(tables),
    )


def attend(name: str, step: AttentionStep) -> torch.Tensor:
    """One layer's write and attention by the backend called `name`."""
    backend = select_backend(name, step.shape, step.q.device, step.q.dtype)
    backend.write(step.k, step.v, step.cache, step.batch)
    return backend.attend(step.q, step.k, step.v, step.cache, backend.plan(step.batch))


def _tables(
    sizes: Sequence[tuple[int, int]], block_tokens: int, swaps: int, chance: random.Random
) -> list[tuple[int, ...]]:
    counts = [-(-context_len // block_tokens) for _, context_len in sizes]
    ids = list(range(1, sum(counts) + 1))
    for _ in range(swaps):
        one, other = chance.randrange(len(ids)), chance.randrange(len(ids))
        ids[one], ids[other] = ids[other], ids[one]
    ends = [sum(counts[: i + 1]) for i in range(len(counts))]
    return [tuple(ids[end - count : end]) for count, end in zip(counts, ends, strict=True)]


def _filled(
    shape: AttentionShape,
    num_blocks: int,
    sizes: Sequence[tuple[int, int]],
    tables: Sequence[tuple[int, ...]],
    generator: torch.Generator,
) -> torch.Tensor:
    """Random where a context reaches. Elsewhere huge, so that reading it shows, but finite: real caches hold
    what earlier sequences left, which may be multiplied by a weight of zero."""
    cached = torch.full((num_blocks, shape.block_tokens, shape.num_kv_heads, shape.head_dim), 1e4)
    flat = cached.flatten(0, 1)
    for (_, context_len), table in zip(sizes, tables, strict=True):
        for index, block in enumerate(table):
            count = min(shape.block_tokens, context_len - index * shape.block_tokens)
            first = block * shape.block_tokens
            flat[first : first + count] = torch.randn(count, shape.num_kv_heads, shape.head_dim, generator=generator)
    return cached
