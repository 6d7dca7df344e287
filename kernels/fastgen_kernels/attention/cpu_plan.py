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

GATHER_BYTES_PER_CALL = 256 * 1024
"""Copying this many bytes of keys and values costs about as much as one more attention call and its merge."""


class Piece(NamedTuple):
    """Keys and values that one call attends to: a view of `num_tokens` slots, or a copy of the slots listed."""

    first_slot: int
    num_tokens: int
    slots: torch.Tensor | None
    """[num_tokens] int64; None reads first_slot .. first_slot + num_tokens - 1 without a copy."""
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
    slots: torch.Tensor
    """[n * longest] int64, padded by repeating a slot of the same sequence."""
    longest: int
    mask: torch.Tensor | None
    """[n, 1, 1, longest] float32 that hides the padding; None where all are equally long."""


class CpuPlan(NamedTuple):
    sequences: tuple[SequencePlan, ...]
    decodes: DecodeGroup | None


class CpuPlanner:
    """RaggedBatch -> CpuPlan, from host copies of the sizes alone."""

    def __init__(self, shape: AttentionShape, bytes_per_element: int = 4) -> None:
        self.block_tokens = shape.block_tokens
        self.window_tokens = shape.window_tokens
        bytes_per_token = 2 * shape.num_kv_heads * shape.head_dim * bytes_per_element
        self.short_tokens = max(1, GATHER_BYTES_PER_CALL // bytes_per_token)

    def plan(self, batch: RaggedBatch) -> CpuPlan:
        sequences: list[SequencePlan] = []
        short: list[tuple[int, range, tuple[int, ...]]] = []
        start = 0
        sizes = zip(batch.host_query_lens, batch.host_context_lens, batch.host_block_tables, strict=True)
        for query_len, context_len, blocks in sizes:
            if query_len == 1:
                positions = range(self._first_visible(context_len - 1), context_len)
                if len(positions) <= self.short_tokens:
                    short.append((start, positions, blocks))
                else:
                    pieces = self._pieces(positions, blocks, num_rows=1)
                    sequences.append(SequencePlan(start, start + 1, pieces, None))
            else:
                sequences.append(self._plan_chunk(start, query_len, context_len, blocks))
            start += query_len
        return CpuPlan(tuple(sequences), self._group(short) if short else None)

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
        return Piece(0, len(positions), _slots(runs), num_rows, mask)

    def _visible(self, queries: range, keys: range) -> torch.Tensor:
        """[queries, keys] bool, by position."""
        assert self.window_tokens is not None
        distance = torch.arange(queries.start, queries.stop)[:, None] - torch.arange(keys.start, keys.stop)
        return (distance >= 0) & (distance < self.window_tokens)

    def _pieces(self, positions: range, blocks: tuple[int, ...], num_rows: int) -> tuple[Piece, ...]:
        """Every position is in exactly one piece; their order does not matter, for nothing is masked."""
        runs = self._runs(positions, blocks)
        short = [run for run in runs if len(run) <= self.short_tokens]
        if len(short) < 2:
            return tuple(Piece(run.start, len(run), None, num_rows, None) for run in runs)
        slots = _slots(short)
        gathered = Piece(0, slots.shape[0], slots, num_rows, None)
        long = (Piece(run.start, len(run), None, num_rows, None) for run in runs if len(run) > self.short_tokens)
        return (*long, gathered)

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

    def _group(self, short: list[tuple[int, range, tuple[int, ...]]]) -> DecodeGroup:
        lengths = [len(positions) for _, positions, _ in short]
        longest = max(lengths)
        slots = []
        for _, positions, blocks in short:
            own = _slots(self._runs(positions, blocks))
            slots.append(torch.cat((own, own[:1].expand(longest - own.shape[0]))))
        mask = None
        if min(lengths) != longest:
            hidden = torch.arange(longest) < torch.tensor(lengths)[:, None]
            mask = _additive(hidden)[:, None, None, :]
        rows = torch.tensor([row for row, _, _ in short])
        return DecodeGroup(rows, torch.cat(slots), longest, mask)


def _slots(runs: list[range]) -> torch.Tensor:
    return torch.cat([torch.arange(run.start, run.stop) for run in runs])


def _additive(visible: torch.Tensor) -> torch.Tensor:
    return torch.zeros(visible.shape).masked_fill_(~visible, float("-inf"))
