"""The ragged batch: chunks and decodes of many sequences laid end to end, with no padding.

    token_ids   [ c c c c c | d | d | c c c ]        T tokens of S sequences
    query_starts  0           5   6   7      10      S + 1
    context_lens  21          40  9   3              S: tokens in the KV cache once this step has written

Sequence s asks with tokens query_starts[s]..query_starts[s+1] at positions
context_lens[s] - query_len[s] .. context_lens[s] - 1, and sees keys 0 .. its own position.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class RaggedBatch:
    """One step's input on the device, with host copies of the sizes kernels are planned from."""

    token_ids: torch.Tensor
    """[T] int64"""
    positions: torch.Tensor
    """[T] int64"""
    slots: torch.Tensor
    """[T] int64: block * block_tokens + offset, where each token's key and value are written."""
    query_starts: torch.Tensor
    """[S + 1] int32"""
    context_lens: torch.Tensor
    """[S] int32"""
    block_tables: torch.Tensor
    """[S, max blocks] int32; entries past a sequence's last block are 0 and never read."""
    logit_rows: torch.Tensor
    """[R] int64: the rows of the hidden states whose logits are wanted."""
    host_query_lens: tuple[int, ...]
    host_context_lens: tuple[int, ...]
    host_block_tables: tuple[tuple[int, ...], ...]

    @property
    def num_tokens(self) -> int:
        return int(self.token_ids.shape[0])

    @property
    def num_sequences(self) -> int:
        return len(self.host_query_lens)
