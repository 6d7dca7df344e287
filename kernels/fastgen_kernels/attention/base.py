"""What an attention backend is: one interface, several implementations, chosen when the engine starts.

Cache shape, for every backend: keys and values apart, one tensor per layer,
[num_blocks, block_tokens, kv_heads, head_dim]. How those four dimensions lie in memory is the backend's
choice (`memory_order`): GPU kernels read a block of all heads at once, a CPU reads one head after the other.
"""

from __future__ import annotations

from typing import Generic, NamedTuple, Protocol, TypeVar

import torch

from fastgen_kernels.batch import RaggedBatch


class LayerCache(NamedTuple):
    """One layer's KV cache; both [num_blocks, block_tokens, kv_heads, head_dim]."""

    keys: torch.Tensor
    values: torch.Tensor


class AttentionShape(NamedTuple):
    """What does not change from step to step."""

    num_heads: int
    num_kv_heads: int
    head_dim: int
    block_tokens: int
    scale: float
    """Multiplies q·k before the softmax."""
    window_tokens: int | None
    """Sliding window: a query at position p sees keys p - window_tokens + 1 .. p. None sees all."""


PlanT = TypeVar("PlanT")


class AttentionBackend(Protocol, Generic[PlanT]):
    """Plan once per step, attend once per layer.

    `write` puts this step's keys and values [T, kv_heads, head_dim] into the cache at batch.slots.
    `attend` then reads them from there: q [T, heads, head_dim] -> [T, heads, head_dim], same dtype.
    """

    name: str

    memory_order: tuple[int, int, int, int]
    """The cache's four dimensions from outermost to innermost, as this backend reads them fastest. It works
    with any other order of the first three, slower."""

    def plan(self, batch: RaggedBatch) -> PlanT: ...

    def write(self, k: torch.Tensor, v: torch.Tensor, cache: LayerCache, batch: RaggedBatch) -> None: ...

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, cache: LayerCache, plan: PlanT) -> torch.Tensor:
        """`k`, `v`: this step's keys and values as given to `write`, for backends that can use them directly."""
        ...
