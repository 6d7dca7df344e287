"""From a StepPlan to a RaggedBatch: plain Python and numpy on the host, then two copies to the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from fastgen.core.plan import StepPlan
from fastgen.core.sequence import RunningSequence
from fastgen_kernels.batch import RaggedBatch


class BatchRow(NamedTuple):
    """One sequence's share of a step."""

    token_ids: Sequence[int]
    start: int
    blocks: tuple[int, ...]
    samples: bool
    prompt_len: int

    @property
    def end(self) -> int:
        return self.start + len(self.token_ids)


def rows_of(plan: StepPlan, sequences: Mapping[int, RunningSequence]) -> list[BatchRow]:
    """The plan's chunks with their tokens and blocks. A plan precedes its commit: blocks taken in this step are
    not the sequence's yet, and those of one admitted in this step are all in the plan."""
    cached = {admission.sequence_id: admission.cached_blocks for admission in plan.admitted}
    rows = []
    for chunk in plan.chunks:
        sequence = sequences[chunk.sequence_id]
        held = cached.get(chunk.sequence_id)
        blocks = (*(sequence.blocks if held is None else held), *chunk.new_blocks)
        token_ids = sequence.token_ids[chunk.start : chunk.start + chunk.num_tokens]
        rows.append(BatchRow(token_ids, chunk.start, blocks, chunk.samples, sequence.num_prompt_tokens))
    return rows


def build_batch(rows: Sequence[BatchRow], block_tokens: int, device: torch.device) -> RaggedBatch:
    """Lay the rows end to end.

    One int64 array (token ids | positions | slots | logit rows) and one int32 array (query starts | context
    lengths | block tables) are filled on the host, so that a GPU gets two copies and not seven.
    """
    query_lens = [len(row.token_ids) for row in rows]
    ends = np.cumsum(query_lens, dtype=np.int64)
    num_tokens, num_rows = int(ends[-1]), len(rows)
    logit_rows = ends[[index for index, row in enumerate(rows) if row.samples]] - 1
    width = max(len(row.blocks) for row in rows)

    longs = np.empty(3 * num_tokens + len(logit_rows), dtype=np.int64)
    token_ids, positions, slots = longs[: 3 * num_tokens].reshape(3, num_tokens)
    longs[3 * num_tokens :] = logit_rows
    ints = np.zeros(2 * num_rows + 1 + num_rows * width, dtype=np.int32)
    ints[1 : num_rows + 1] = ends
    ints[num_rows + 1 : 2 * num_rows + 1] = [row.end for row in rows]
    tables = ints[2 * num_rows + 1 :].reshape(num_rows, width)

    begin = 0
    for row, table, end in zip(rows, tables, ends.tolist(), strict=True):
        token_ids[begin:end] = row.token_ids
        table[: len(row.blocks)] = row.blocks
        if end - begin == 1:
            block, offset = divmod(row.start, block_tokens)
            positions[begin] = row.start
            slots[begin] = row.blocks[block] * block_tokens + offset
        else:
            here = np.arange(row.start, row.end)
            positions[begin:end] = here
            slots[begin:end] = table[here // block_tokens].astype(np.int64) * block_tokens + here % block_tokens
        begin = end

    on_device, tables_on_device = _to_device(longs, device), _to_device(ints, device)
    return RaggedBatch(
        token_ids=on_device[:num_tokens],
        positions=on_device[num_tokens : 2 * num_tokens],
        slots=on_device[2 * num_tokens : 3 * num_tokens],
        query_starts=tables_on_device[: num_rows + 1],
        context_lens=tables_on_device[num_rows + 1 : 2 * num_rows + 1],
        block_tables=tables_on_device[2 * num_rows + 1 :].view(num_rows, width),
        logit_rows=on_device[3 * num_tokens :],
        host_query_lens=tuple(query_lens),
        host_context_lens=tuple(row.end for row in rows),
        host_block_tables=tuple(row.blocks for row in rows),
    )


def prompt_lens(rows: Sequence[BatchRow], device: torch.device) -> torch.Tensor:
    """[T] int64: for each token, the length of its sequence's prompt."""
    lens = np.repeat([row.prompt_len for row in rows], [len(row.token_ids) for row in rows])
    return _to_device(lens.astype(np.int64), device)


def _to_device(array: NDArray[Any], device: torch.device) -> torch.Tensor:
    host = torch.from_numpy(array)
    if device.type == "cpu":
        return host
    return host.pin_memory().to(device, non_blocking=True)
