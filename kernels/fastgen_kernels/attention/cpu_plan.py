"""What the CPU backend decides once per step: which stretches of the cache each sequence reads, and how.

    positions   0 ........ lo ............. full ............. h ........ context
                |  unseen  |  window's edge |  seen by every    |  the chunk  |
                |          |  (masked)      |  query: no mask   |  itself     |

A block table is cut into maximal runs of consecutive block ids. A long run is read where it lies, as a
strided view of the cache; runs too short to be worth a call of their own are gathered into one copy.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch

from fastgen_kernels.attention.base import AttentionShape
from fastgen_kernels.batch import RaggedBatch

SHORT_RUN_BYTES = 1024 * 1024
"""Keys and values of runs below this are gathered: measured, copying them costs less than a call and a merge each."""

SHORT_DECODE_BYTES = 512 * 1024
"""Decodes with less context than this share one call: measured, as above, padding included."""


class Piece(NamedTuple):
    """Keys and values that one call attends to: a view of the cache, or a copy of whole blocks."""

    first_slot: int
    """block * block_tokens + offset where the view starts; in a copy, the offset in its first block."""
    num_tokens: int
    blocks: torch.Tensor | None
    """[n] int64 to copy; None reads slots first_slot .. first_slot + num_tokens - 1 where they lie."""
    num_rows: int
    """Only the first num_rows queries of the chunk see any of these keys."""
    mask: torch.Tensor | None
    """[num_rows, num_tokens] float32, added to the scores; None where every query sees every key."""


class SequencePlan(NamedTuple):
    """One sequence's rows [start, end) of the batch and what they read."""

    start: int
    end: int
    history: tuple[Piece, ...]
    """For a decode, all of its context: its own token has been written by then."""
    own_mask: torch.Tensor | None
    """[chunk, chunk] where the window is shorter than the chunk; None is plain causal. Unused by decodes."""


class DecodeGroup(NamedTuple):
    """Decodes with so little context that copying it costs less than calling for each."""

    rows: torch.Tensor
    """[n] int64: rows of the batch."""
    blocks: torch.Tensor
    """[n * blocks of the longest] int64; what pads the shorter ones is masked."""
    num_tokens: int
    """Of the copied tokens per sequence, the first num_tokens are used by any."""
    mask: torch.Tensor | None
    """[n, 1, num_tokens] float32, added to the scores; None where all use all."""


class CpuPlan(NamedTuple):
    sequences: tuple[SequencePlan, ...]
    decodes: DecodeGroup | None


class CpuPlanner:
    """RaggedBatch -> CpuPlan."""

    def __init__(self, shape: AttentionShape) -> None:
        self.block_tokens = shape.block_tokens
        self.window_tokens = shape.window_tokens
        bytes_per_token = 2 * shape.num_kv_heads * shape.head_dim * 4  # half types were measured alike
        self.short_run_tokens = SHORT_RUN_BYTES // bytes_per_token
        self.short_decode_tokens = SHORT_DECODE_BYTES // bytes_per_token

    def plan(self, batch: RaggedBatch) -> CpuPlan:
        sequences: list[SequencePlan] = []
        short: list[tuple[int, int, range]] = []
        start = 0
        sizes = zip(batch.host_query_lens, batch.host_context_lens, batch.host_block_tables, strict=True)
        for sequence, (query_len, context_len, blocks) in enumerate(sizes):
            if query_len == 1:
                positions = range(self._first_visible(context_len - 1), context_len)
                if len(positions) <= self.short_decode_tokens:
                    short.append((sequence, start, positions))
                else:
                    pieces = self._pieces(positions, blocks, num_rows=1)
                    sequences.append(SequencePlan(start, start + 1, pieces, None))
            else:
                sequences.append(self._plan_chunk(start, query_len, context_len, blocks))
            start += query_len
        return CpuPlan(tuple(sequences), self._group(batch, short) if short else None)

    def _first_visible(self, position: int) -> int:
        return 0 if self.window_tokens is None else max(0, position - self.window_tokens + 1)

    def _plan_chunk(self, start: int, query_len: int, context_len: int, blocks: tuple[int, ...]) -> SequencePlan:
        history_len = context_len - query_len
        lowest = self._first_visible(history_len)
        full = min(history_len, self._first_visible(context_len - 1))
        pieces = self._pieces(range(full, history_len), blocks, query_len)
        if lowest < full:
            pieces = (*pieces, self._edge(range(lowest, full), blocks, history_len, query_len))
        own_mask = None
        if self.window_tokens is not None and query_len > self.window_tokens:
            own_mask = _additive(self._visible(range(query_len), range(query_len)))
        return SequencePlan(start, start + query_len, pieces, own_mask)

    def _edge(self, positions: range, blocks: tuple[int, ...], history_len: int, query_len: int) -> Piece:
        """Keys that the window hides from the chunk's later queries, but not from its first."""
        assert self.window_tokens is not None
        num_rows = min(query_len, positions.stop - 1 - history_len + self.window_tokens)
        mask = _additive(self._visible(range(history_len, history_len + num_rows), positions))
        runs = self._runs(positions, blocks)
        if len(runs) == 1:
            return Piece(runs[0].start, len(runs[0]), None, num_rows, mask)
        return self._gathered(runs, num_rows, mask)

    def _visible(self, queries: range, keys: range) -> torch.Tensor:
        """[queries, keys] bool, by position."""
        assert self.window_tokens is not None
        distance = torch.arange(queries.start, queries.stop)[:, None] - torch.arange(keys.start, keys.stop)
        return (distance >= 0) & (distance < self.window_tokens)

    def _pieces(self, positions: range, blocks: tuple[int, ...], num_rows: int) -> tuple[Piece, ...]:
        """Every position is in exactly one piece; their order does not matter, for nothing is masked."""
        runs = self._runs(positions, blocks)
        short = [run for run in runs if len(run) <= self.short_run_tokens]
        if len(short) < 2:
            return tuple(Piece(run.start, len(run), None, num_rows, None) for run in runs)
        views = (Piece(run.start, len(run), None, num_rows, None) for run in runs if len(run) > self.short_run_tokens)
        return (*views, self._gathered(short, num_rows, None))

    def _gathered(self, runs: list[range], num_rows: int, mask: torch.Tensor | None) -> Piece:
        """Whole blocks are copied. Only the first can be used from its middle, and only the last up to its middle."""
        size = self.block_tokens
        blocks = [block for run in runs for block in range(run.start // size, (run.stop - 1) // size + 1)]
        return Piece(runs[0].start % size, sum(map(len, runs)), torch.tensor(blocks), num_rows, mask)

    def _runs(self, positions: range, blocks: tuple[int, ...]) -> list[range]:
        """The slots of `positions`, as maximal ranges."""
        if not positions:
            return []
        size = self.block_tokens
        first, last = positions.start // size, (positions.stop - 1) // size
        needed = blocks[first : last + 1]
        cuts = [i for i, (left, right) in enumerate(pairwise(needed), start=1) if right != left + 1]
        runs = []
        for begin, end in pairwise([0, *cuts, len(needed)]):
            head = positions.start % size if begin == 0 else 0
            tail = (positions.stop - 1) % size + 1 if end == len(needed) else size
            runs.append(range(needed[begin] * size + head, needed[end - 1] * size + tail))
        return runs

    def _group(self, batch: RaggedBatch, short: list[tuple[int, int, range]]) -> DecodeGroup:
        """`short`: (sequence, row, positions) of each."""
        size = self.block_tokens
        sequences, rows, spans = zip(*short, strict=True)
        first_blocks = [span.start // size for span in spans]
        num_blocks = max((span.stop - 1) // size + 1 - first for span, first in zip(spans, first_blocks, strict=True))
        columns = torch.tensor(first_blocks)[:, None] + torch.arange(num_blocks)
        tables = batch.block_tables[torch.tensor(sequences)].long()
        blocks = tables.gather(1, columns.clamp_(max=tables.shape[1] - 1))
        starts = torch.tensor([span.start - first * size for span, first in zip(spans, first_blocks, strict=True)])
        ends = starts + torch.tensor([len(span) for span in spans])
        num_tokens = int(ends.max())
        offsets = torch.arange(num_tokens)
        visible = (offsets >= starts[:, None]) & (offsets < ends[:, None])
        mask = None if bool(visible.all()) else _additive(visible)[:, None, :]
        return DecodeGroup(torch.tensor(rows), blocks.flatten(), num_tokens, mask)


def _additive(visible: torch.Tensor) -> torch.Tensor:
    return torch.zeros(visible.shape).masked_fill_(~visible, float("-inf"))
