"""Paged attention in Triton: any block size, grouped heads, sliding windows; float32, bfloat16, float16.

Chunks and decodes of one step are launched apart, because the plan knows both: chunks in tiles of many
tokens, decodes with their keys divided among programs, so that a few long decodes fill the device too
(vLLM's unified kernel, https://arxiv.org/abs/2511.11581, leaves decodes in a mixed batch undivided).

Verified in Triton's interpreter and compiled ahead of time for sm_90; tests marked gpu run it on a device.
"""

from __future__ import annotations

import math
import os
from typing import NamedTuple

import torch
import triton

from fastgen_kernels.attention.base import AttentionShape, LayerCache
from fastgen_kernels.attention.cache_write import write_slots
from fastgen_kernels.attention.triton_kernels import attend_tiles, merge_splits
from fastgen_kernels.batch import RaggedBatch

CHUNK_ROWS = 64
"""Rows (tokens times heads per KV head) of a chunk's tile; 16 is the least a matrix unit takes."""

KEYS_PER_SPLIT = 256
"""Fewer than this are not worth a program of their own."""

MOST_SPLITS = 64
"""More programs for one decode cost more in merging than they gain."""


class TritonPlan(NamedTuple):
    batch: RaggedBatch
    chunk_tiles: tuple[torch.Tensor, torch.Tensor] | None
    """Sequence and first token of each tile, [tiles] int32 each; None without chunks."""
    decode_tiles: tuple[torch.Tensor, torch.Tensor] | None
    num_splits: int
    """Programs that share one decode's keys, for each KV head."""


class TritonAttention:
    """See the module's docstring."""

    name = "triton"
    memory_order = (0, 1, 2, 3)

    def __init__(self, shape: AttentionShape) -> None:
        self.shape = shape
        self.heads_per_kv = shape.num_heads // shape.num_kv_heads
        self.group: int = triton.next_power_of_2(self.heads_per_kv)

    @staticmethod
    def unavailable_reason(shape: AttentionShape, device: torch.device, dtype: torch.dtype) -> str | None:
        """Why it cannot run on `device`; None where it can."""
        if dtype not in (torch.float32, torch.bfloat16, torch.float16):
            return f"it has no kernel for {dtype}"
        if shape.head_dim > 256:
            return f"heads of {shape.head_dim} do not fit its tiles (at most 256)"
        if os.environ.get("TRITON_INTERPRET") == "1":
            return None
        if device.type != "cuda":
            return f"its kernels need a GPU and the model is on {device}"
        if not torch.cuda.is_available():
            return "torch finds no CUDA device"
        capability = torch.cuda.get_device_capability(device)
        if capability < (8, 0):
            return f"its kernels need compute capability 8.0 and {device} has {capability[0]}.{capability[1]}"
        return None

    def plan(self, batch: RaggedBatch) -> TritonPlan:
        chunks: list[tuple[int, int]] = []
        decodes: list[tuple[int, int]] = []
        step = self._tokens_per_tile(CHUNK_ROWS)
        longest = 1
        for sequence, query_len in enumerate(batch.host_query_lens):
            if query_len == 1:
                decodes.append((sequence, 0))
                longest = max(longest, self._visible(batch.host_context_lens[sequence]))
            else:
                chunks.extend((sequence, first) for first in range(0, query_len, step))
        device = batch.query_starts.device
        splits = self._num_splits(len(decodes), longest, device)
        return TritonPlan(batch, _on_device(chunks, device), _on_device(decodes, device), splits)

    def write(self, k: torch.Tensor, v: torch.Tensor, cache: LayerCache, batch: RaggedBatch) -> None:
        write_slots(k, v, cache, batch)

    def attend(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, cache: LayerCache, plan: TritonPlan
    ) -> torch.Tensor:
        # k and v are in the cache by now and are read from there.
        out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
        if plan.chunk_tiles is not None:
            self._launch(out, None, q, cache, plan.batch, plan.chunk_tiles, CHUNK_ROWS, 1)
        if plan.decode_tiles is None:
            return out
        if plan.num_splits == 1:
            self._launch(out, None, q, cache, plan.batch, plan.decode_tiles, 16, 1)
            return out
        tiles = plan.decode_tiles[0].shape[0]
        size = (tiles, self.shape.num_heads, plan.num_splits)
        partial = torch.empty((*size, self.shape.head_dim), dtype=torch.float32, device=q.device)
        lse = torch.empty(size, dtype=torch.float32, device=q.device)
        self._launch(partial, lse, q, cache, plan.batch, plan.decode_tiles, 16, plan.num_splits)
        merge_splits[(tiles, self.shape.num_heads)](
            out,
            partial,
            lse,
            plan.decode_tiles[0],
            plan.batch.query_starts,
            out.stride(0),
            plan.num_splits,
            HEAD_DIM=self.shape.head_dim,
            HEAD_DIM_PADDED=triton.next_power_of_2(self.shape.head_dim),
            SPLITS_PADDED=triton.next_power_of_2(plan.num_splits),
        )
        return out

    def _launch(
        self,
        out: torch.Tensor,
        lse: torch.Tensor | None,
        q: torch.Tensor,
        cache: LayerCache,
        batch: RaggedBatch,
        tiles: tuple[torch.Tensor, torch.Tensor],
        rows: int,
        num_splits: int,
    ) -> None:
        attend_tiles[(tiles[0].shape[0], self.shape.num_kv_heads, num_splits)](
            out,
            lse if lse is not None else out,
            q,
            cache.keys,
            cache.values,
            *tiles,
            batch.query_starts,
            batch.context_lens,
            batch.block_tables,
            self.shape.scale * math.log2(math.e),
            num_splits,
            q.stride(0),
            q.stride(1),
            out.stride(0),
            cache.keys.stride(0),
            cache.keys.stride(1),
            cache.keys.stride(2),
            batch.block_tables.stride(0),
            **tile_sizes(self.shape, rows, q.dtype),
            PARTIAL=lse is not None,
        )

    def _tokens_per_tile(self, rows: int) -> int:
        return max(1, rows // self.group)

    def _visible(self, context_len: int) -> int:
        return context_len if self.shape.window_tokens is None else min(context_len, self.shape.window_tokens)

    def _num_splits(self, num_decodes: int, longest: int, device: torch.device) -> int:
        """Enough programs for two on each multiprocessor, while each has keys enough. A power of two, so that
        few variants of the merge are compiled."""
        if num_decodes == 0:
            return 1
        wanted = -(-2 * _multiprocessors(device) // (num_decodes * self.shape.num_kv_heads))
        useful = -(-longest // KEYS_PER_SPLIT)
        most = max(1, min(wanted, useful, MOST_SPLITS))
        return 1 << (most.bit_length() - 1)


def tile_sizes(shape: AttentionShape, rows: int, dtype: torch.dtype) -> dict[str, int]:
    """The compile-time sizes of attend_tiles for tiles of `rows` rows."""
    heads_per_kv = shape.num_heads // shape.num_kv_heads
    group = triton.next_power_of_2(heads_per_kv)
    padded = max(16, triton.next_power_of_2(shape.head_dim))
    return {
        "HEADS_PER_KV": heads_per_kv,
        "GROUP": group,
        "BLOCK_Q": max(1, rows // group),
        # Keys and values of a tile, doubly buffered, have to fit a multiprocessor's shared memory.
        "BLOCK_N": 32 if dtype == torch.float32 or padded > 128 else 64,
        "HEAD_DIM": shape.head_dim,
        "HEAD_DIM_PADDED": padded,
        "BLOCK_TOKENS": shape.block_tokens,
        "WINDOW": shape.window_tokens or 0,
    }


def _on_device(tiles: list[tuple[int, int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor] | None:
    if not tiles:
        return None
    both = torch.tensor(tiles, dtype=torch.int32).t().contiguous().to(device, non_blocking=True)
    return both[0], both[1]


def _multiprocessors(device: torch.device) -> int:
    return int(torch.cuda.get_device_properties(device).multi_processor_count) if device.type == "cuda" else 8
