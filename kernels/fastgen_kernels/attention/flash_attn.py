"""FlashAttention-2 over the blocked cache, by the functions of the flash-attn package (extra `cuda`).

Decodes and chunks of one step are launched apart: the varlen function divides keys among programs only where
every query is a single token, so a long decode beside a chunk would run undivided; the kvcache function
always divides them (https://github.com/Dao-AILab/flash-attention, version 2.8).

Never run on a GPU yet. Verified here: what it is called with, against stand-ins written from its
documentation (tests/fastgen_kernels/attention/test_flash_attn_calls.py); tests marked gpu run the real one.
"""

from __future__ import annotations

from itertools import accumulate
from typing import NamedTuple

import torch
from flash_attn import flash_attn_varlen_func, flash_attn_with_kvcache

from fastgen_kernels.attention.base import AttentionShape, LayerCache
from fastgen_kernels.attention.cache_write import write_slots
from fastgen_kernels.batch import RaggedBatch

BLOCK_TOKENS_MULTIPLE = 256
"""Its paged kernels want a tile of keys to lie inside one block."""


class DecodePart(NamedTuple):
    """The sequences that ask with one token."""

    rows: torch.Tensor | None
    """[n] int64: their rows in the batch; None where they are all of it."""
    context_lens: torch.Tensor
    """[n] int32"""
    block_tables: torch.Tensor
    """[n, max blocks] int32"""


class ChunkPart(NamedTuple):
    """The sequences that ask with more than one token."""

    rows: torch.Tensor | None
    """[rows] int64; None where they are all of the batch."""
    query_starts: torch.Tensor
    """[n + 1] int32"""
    context_starts: torch.Tensor
    """[n + 1] int32: contexts laid end to end, as the function counts them even where they lie in blocks."""
    longest_query: int
    longest_context: int
    block_tables: torch.Tensor


class FlashPlan(NamedTuple):
    decodes: DecodePart | None
    chunks: ChunkPart | None


class FlashAttention:
    """bfloat16 and float16 on CUDA; block_tokens a multiple of 256."""

    name = "flash_attn"
    memory_order = (0, 1, 2, 3)

    def __init__(self, shape: AttentionShape) -> None:
        self.shape = shape
        self._window = (-1, -1) if shape.window_tokens is None else (shape.window_tokens - 1, 0)

    @staticmethod
    def unavailable_reason(shape: AttentionShape, device: torch.device, dtype: torch.dtype) -> str | None:
        """Why it cannot run on `device`; None where it can."""
        if shape.block_tokens % BLOCK_TOKENS_MULTIPLE:
            return (
                f"block_tokens={shape.block_tokens} does not work with attention=flash_attn, whose kernels need "
                "a multiple of 256; set block_tokens=256 or choose attention=triton"
            )
        if dtype not in (torch.bfloat16, torch.float16):
            return f"its kernels take bfloat16 and float16, not {str(dtype).removeprefix('torch.')}"
        if shape.head_dim > 256 or shape.head_dim % 8:
            return f"its kernels take heads of at most 256 that are a multiple of 8, not {shape.head_dim}"
        if device.type != "cuda":
            return f"its kernels need a GPU and the model is on {device}"
        if not torch.cuda.is_available():
            return "torch finds no CUDA device"
        capability = torch.cuda.get_device_capability(device)
        if capability < (8, 0):
            return f"its kernels need compute capability 8.0 and {device} has {capability[0]}.{capability[1]}"
        return None

    def plan(self, batch: RaggedBatch) -> FlashPlan:
        decodes = [s for s, query_len in enumerate(batch.host_query_lens) if query_len == 1]
        chunks = [s for s, query_len in enumerate(batch.host_query_lens) if query_len > 1]
        starts = [0, *accumulate(batch.host_query_lens)]
        return FlashPlan(
            self._plan_decodes(batch, decodes, starts) if decodes else None,
            self._plan_chunks(batch, chunks, starts) if chunks else None,
        )

    def write(self, k: torch.Tensor, v: torch.Tensor, cache: LayerCache, batch: RaggedBatch) -> None:
        write_slots(k, v, cache, batch)

    def attend(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, cache: LayerCache, plan: FlashPlan
    ) -> torch.Tensor:
        # k and v are in the cache by now and are read from there.
        out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
        if plan.decodes is not None:
            rows = plan.decodes.rows
            result = self._attend_decodes(q if rows is None else q.index_select(0, rows), cache, plan.decodes)
            out = result if rows is None else out.index_copy_(0, rows, result)
        if plan.chunks is not None:
            rows = plan.chunks.rows
            result = self._attend_chunks(q if rows is None else q.index_select(0, rows), cache, plan.chunks)
            out = result if rows is None else out.index_copy_(0, rows, result)
        return out

    def _plan_decodes(self, batch: RaggedBatch, sequences: list[int], starts: list[int]) -> DecodePart:
        chosen = _on_device(sequences, torch.int64, batch)
        return DecodePart(
            rows=_rows(sequences, starts, batch),
            context_lens=batch.context_lens.index_select(0, chosen),
            block_tables=batch.block_tables.index_select(0, chosen),
        )

    def _plan_chunks(self, batch: RaggedBatch, sequences: list[int], starts: list[int]) -> ChunkPart:
        query_lens = [batch.host_query_lens[s] for s in sequences]
        context_lens = [batch.host_context_lens[s] for s in sequences]
        return ChunkPart(
            rows=_rows(sequences, starts, batch),
            query_starts=_on_device([0, *accumulate(query_lens)], torch.int32, batch),
            context_starts=_on_device([0, *accumulate(context_lens)], torch.int32, batch),
            longest_query=max(query_lens),
            longest_context=max(context_lens),
            block_tables=batch.block_tables.index_select(0, _on_device(sequences, torch.int64, batch)),
        )

    def _attend_decodes(self, q: torch.Tensor, cache: LayerCache, part: DecodePart) -> torch.Tensor:
        result: torch.Tensor = flash_attn_with_kvcache(
            q.unsqueeze(1),
            cache.keys,
            cache.values,
            cache_seqlens=part.context_lens,
            block_table=part.block_tables,
            softmax_scale=self.shape.scale,
            causal=True,
            window_size=self._window,
        )
        return result.squeeze(1)

    def _attend_chunks(self, q: torch.Tensor, cache: LayerCache, part: ChunkPart) -> torch.Tensor:
        result: torch.Tensor = flash_attn_varlen_func(
            q,
            cache.keys,
            cache.values,
            part.query_starts,
            part.context_starts,
            part.longest_query,
            part.longest_context,
            softmax_scale=self.shape.scale,
            causal=True,
            window_size=self._window,
            block_table=part.block_tables,
        )
        return result


def _rows(sequences: list[int], starts: list[int], batch: RaggedBatch) -> torch.Tensor | None:
    if len(sequences) == batch.num_sequences:
        return None
    return _on_device([row for s in sequences for row in range(starts[s], starts[s + 1])], torch.int64, batch)


def _on_device(values: list[int], dtype: torch.dtype, batch: RaggedBatch) -> torch.Tensor:
    return torch.tensor(values, dtype=dtype).to(batch.context_lens.device, non_blocking=True)
