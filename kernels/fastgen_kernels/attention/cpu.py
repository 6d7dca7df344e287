"""Attention on a CPU: no padding to the longest sequence, no copy of the whole cache per step.

Every stretch of keys goes through torch's blocked CPU kernel, which returns the logsumexp of each query
beside its output; partial outputs merge exactly by it (Dao et al. 2022, https://arxiv.org/abs/2205.14135,
section 3.1). So history is read in place, without a mask, and the chunk itself is plain causal.
"""

from __future__ import annotations

import torch

from fastgen_kernels.attention.base import AttentionShape, LayerCache
from fastgen_kernels.attention.cache_write import write_slots
from fastgen_kernels.attention.cpu_plan import CpuPlan, CpuPlanner, DecodeGroup, Piece, SequencePlan
from fastgen_kernels.batch import RaggedBatch


class CpuAttention:
    """float32, bfloat16 and float16; scores and sums are float32 in each."""

    name = "cpu"
    memory_order = (2, 0, 1, 3)
    """One KV head after the other: a run of blocks is then one unbroken stretch per head, which memory
    prefetching likes (measured 1.5 to 2 times faster decodes for heads of 64 than token after token)."""

    def __init__(self, shape: AttentionShape) -> None:
        self.shape = shape
        self.group = shape.num_heads // shape.num_kv_heads
        self.planner = CpuPlanner(shape)

    @staticmethod
    def unavailable_reason(shape: AttentionShape, device: torch.device, dtype: torch.dtype) -> str | None:  # noqa: ARG004
        """Why it cannot run on `device`; None where it can."""
        if device.type != "cpu":
            return f"it runs on a CPU and the model is on {device}"
        if not hasattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu"):
            return f"torch {torch.__version__} has no blocked attention kernel for this CPU"
        return None

    def plan(self, batch: RaggedBatch) -> CpuPlan:
        return self.planner.plan(batch)

    def write(self, k: torch.Tensor, v: torch.Tensor, cache: LayerCache, batch: RaggedBatch) -> None:
        write_slots(k, v, cache, batch)

    def attend(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, cache: LayerCache, plan: CpuPlan
    ) -> torch.Tensor:
        out = torch.empty_like(q, memory_format=torch.contiguous_format)
        by_head = LayerCache(*(each.permute(2, 0, 1, 3) for each in cache))
        if plan.decodes is not None:
            self._attend_group(q, by_head, plan.decodes, out)
        for sequence in plan.sequences:
            if sequence.end - sequence.start == 1:
                self._attend_decode(q, by_head, sequence, out)
            else:
                self._attend_chunk(q, k, v, by_head, sequence, out)
        return out

    def _attend_group(self, q: torch.Tensor, by_head: LayerCache, group: DecodeGroup, out: torch.Tensor) -> None:
        """All the short decodes in one call; the heads that share a KV head are the query rows."""
        kv_heads, count = self.shape.num_kv_heads, group.rows.shape[0]
        rows = q.index_select(0, group.rows).view(count, kv_heads, self.group, -1).transpose(0, 1)
        copies = (each.index_select(1, group.blocks).view(kv_heads, count, -1, self.shape.head_dim) for each in by_head)
        keys, values = (each[:, :, : group.num_tokens] for each in copies)
        mask = None if group.mask is None else group.mask.to(q.dtype).unsqueeze(0)
        result, _ = _sdpa(rows, keys, values, mask, self.shape.scale)
        out.index_copy_(0, group.rows, result.transpose(0, 1).reshape(count, self.shape.num_heads, -1))

    def _attend_decode(self, q: torch.Tensor, by_head: LayerCache, sequence: SequencePlan, out: torch.Tensor) -> None:
        folded = (self.shape.num_kv_heads, 1, self.group, self.shape.head_dim)
        rows = q[sequence.start].reshape(folded)
        partial = self._attend_piece(rows, by_head, sequence.history[0])
        for piece in sequence.history[1:]:
            partial = _merge(partial, self._attend_piece(rows, by_head, piece))
        out[sequence.start].view(folded).copy_(partial[0])

    def _attend_chunk(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        by_head: LayerCache,
        sequence: SequencePlan,
        out: torch.Tensor,
    ) -> None:
        here = slice(sequence.start, sequence.end)
        rows = self._by_kv_head(q[here])
        mask = None if sequence.own_mask is None else sequence.own_mask.to(q.dtype)
        keys, values = (self._shared(each[here].transpose(0, 1), rows) for each in (k, v))
        partial = _sdpa(rows, keys, values, mask, self.shape.scale, causal=mask is None)
        for piece in sequence.history:
            partial = _merge(partial, self._attend_piece(rows, by_head, piece))
        self._by_kv_head(out[here]).copy_(partial[0])

    # by_head: the cache seen as [kv_heads, num_blocks, block_tokens, D], a view whatever its layout.

    def _attend_piece(self, rows: torch.Tensor, by_head: LayerCache, piece: Piece) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = by_head if piece.blocks is None else (each.index_select(1, piece.blocks) for each in by_head)
        stretches = (each.flatten(1, 2).narrow(1, piece.first_slot, piece.num_tokens) for each in tokens)
        keys, values = (self._shared(each, rows) for each in stretches)
        if piece.mask is None:
            return _sdpa(rows, keys, values, None, self.shape.scale)
        return _sdpa(rows[:, :, : piece.num_rows], keys, values, piece.mask.to(rows.dtype), self.shape.scale)

    def _by_kv_head(self, rows: torch.Tensor) -> torch.Tensor:
        """[T, heads, D] -> [kv_heads, heads per kv head, T, D], a view."""
        folded = rows.view(rows.shape[0], self.shape.num_kv_heads, self.group, rows.shape[-1])
        return folded.permute(1, 2, 0, 3)

    def _shared(self, stretch: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """[kv_heads, T, D] -> [kv_heads, rows.shape[1], T, D], a view: nothing is repeated in memory."""
        return stretch.unsqueeze(1).expand(-1, rows.shape[1], -1, -1)


def _sdpa(
    q: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    mask: torch.Tensor | None,
    scale: float,
    *,
    causal: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """[A, B, rows, D] each (rows of keys may differ) -> output and its logsumexp [A, B, rows] float32."""
    result: tuple[torch.Tensor, torch.Tensor] = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        q, keys, values, 0.0, causal, attn_mask=mask, scale=scale
    )
    return result


def _merge(
    partial: tuple[torch.Tensor, torch.Tensor], more: tuple[torch.Tensor, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention over the union of two disjoint sets of keys; `more` may hold the first rows only.

    With l = logsumexp: (o₁ eˡ¹ + o₂ eˡ²) / (eˡ¹ + eˡ²) = o₁ + (o₂ - o₁) sigmoid(l₂ - l₁).
    """
    (out, total), (more_out, more_total) = partial, more
    out = out.float()
    count = more_total.shape[-1]
    head, head_total = out[..., :count, :], total[..., :count]
    share = torch.sigmoid(more_total - head_total).unsqueeze(-1)
    head.lerp_(more_out.float(), share)
    head_total.copy_(torch.logaddexp(head_total, more_total))
    return out, total
