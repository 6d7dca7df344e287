"""Writing a step's keys and values where the block tables say: the same for every backend that has nothing better."""

from __future__ import annotations

import torch

from fastgen_kernels.attention.base import LayerCache
from fastgen_kernels.batch import RaggedBatch


def write_slots(k: torch.Tensor, v: torch.Tensor, cache: LayerCache, batch: RaggedBatch) -> None:
    """Rows k, v [T, kv_heads, head_dim] to slot batch.slots[t] = block * block_tokens + offset of the cache."""
    cache.keys.flatten(0, 1).index_copy_(0, batch.slots, k)
    cache.values.flatten(0, 1).index_copy_(0, batch.slots, v)
