"""Attention written the way it is defined, one sequence at a time: slow, obvious, and the judge of the others."""

from __future__ import annotations

from typing import NamedTuple

import torch

from fastgen_kernels.attention.base import AttentionShape, LayerCache
from fastgen_kernels.attention.cache_write import write_slots
from fastgen_kernels.batch import RaggedBatch


class ReferencePlan(NamedTuple):
    batch: RaggedBatch


class ReferenceAttention:
    """softmax(q kᵀ scale + mask) v in float32, with the whole score matrix written out."""

    name = "reference"
    memory_order = (0, 1, 2, 3)

    def __init__(self, shape: AttentionShape) -> None:
        self.shape = shape

    @staticmethod
    def unavailable_reason(shape: AttentionShape, device: torch.device, dtype: torch.dtype) -> str | None:  # noqa: ARG004
        """None: it runs everywhere."""
        return None

    def plan(self, batch: RaggedBatch) -> ReferencePlan:
        return ReferencePlan(batch)

    def write(self, k: torch.Tensor, v: torch.Tensor, cache: LayerCache, batch: RaggedBatch) -> None:
        write_slots(k, v, cache, batch)

    def attend(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        cache: LayerCache,
        plan: ReferencePlan,
    ) -> torch.Tensor:
        # k and v are read back from the cache, on purpose: what was written is what later steps will see.
        out = torch.empty_like(q)
        start = 0
        batch = plan.batch
        sizes = zip(batch.host_query_lens, batch.host_context_lens, batch.host_block_tables, strict=True)
        for query_len, context_len, blocks in sizes:
            end = start + query_len
            keys = self._gather(cache.keys, blocks, context_len)
            values = self._gather(cache.values, blocks, context_len)
            out[start:end] = self._attend_one(q[start:end].float(), keys, values).to(q.dtype)
            start = end
        return out

    def _gather(self, cached: torch.Tensor, blocks: tuple[int, ...], context_len: int) -> torch.Tensor:
        """[context_len, heads, head_dim] float32: each KV head repeated for the query heads it serves."""
        rows = cached[list(blocks)].flatten(0, 1)[:context_len].float()
        return rows.repeat_interleave(self.shape.num_heads // self.shape.num_kv_heads, dim=1)

    def _attend_one(self, q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        scores = torch.einsum("qhd,khd->hqk", q, keys) * self.shape.scale
        query_positions = torch.arange(keys.shape[0] - q.shape[0], keys.shape[0], device=q.device)[:, None]
        key_positions = torch.arange(keys.shape[0], device=q.device)[None, :]
        visible = key_positions <= query_positions
        if self.shape.window_tokens is not None:
            visible &= key_positions > query_positions - self.shape.window_tokens
        weights = scores.masked_fill(~visible, float("-inf")).softmax(dim=-1)
        return torch.einsum("hqk,khd->qhd", weights, values)
