"""A plan becomes a batch whose every index is where the cache has it."""

from __future__ import annotations

import torch

from fastgen.core.plan import Admission, Chunk, StepPlan
from fastgen.core.sampling_params import SamplingParams
from fastgen.core.sequence import RunningSequence, SequenceRequest
from fastgen.runtime.batches import BatchRow, build_batch, prompt_lens, rows_of

CPU = torch.device("cpu")


def sequence(sequence_id: int, tokens: list[int], blocks: list[int]) -> RunningSequence:
    made = RunningSequence(SequenceRequest(sequence_id, tuple(tokens), SamplingParams(), 0), 0.0, 100)
    made.blocks = blocks
    return made


def test_blocks_before_the_commit_are_the_held_the_cached_and_the_new() -> None:
    sequences = {1: sequence(1, [10, 11, 12, 13, 14], [7]), 2: sequence(2, list(range(20, 30)), [])}
    plan = StepPlan(
        preempted=(),
        admitted=(Admission(2, (4, 9), 8),),
        chunks=(Chunk(1, 4, 1, (3,), True, True), Chunk(2, 8, 2, (5,), False, False)),
        token_budget=3,
    )
    assert rows_of(plan, sequences) == [
        BatchRow([14], 4, (7, 3), True, 5),
        BatchRow([28, 29], 8, (4, 9, 5), False, 10),
    ]


def test_the_picture_in_the_batchs_docstring() -> None:
    rows = [
        BatchRow([1, 2, 3, 4, 5], 16, (2, 0, 5), False, 30),
        BatchRow([6], 39, (9, 8, 7, 6, 4), True, 30),
        BatchRow([7], 8, (1, 3), True, 2),
        BatchRow([8, 9, 10], 0, (10,), True, 3),
    ]
    batch = build_batch(rows, 8, CPU)
    assert batch.token_ids.tolist() == list(range(1, 11))
    assert batch.positions.tolist() == [16, 17, 18, 19, 20, 39, 8, 0, 1, 2]
    assert batch.slots.tolist() == [40, 41, 42, 43, 44, 4 * 8 + 7, 3 * 8, 80, 81, 82]
    assert batch.query_starts.tolist() == [0, 5, 6, 7, 10]
    assert batch.context_lens.tolist() == [21, 40, 9, 3]
    assert batch.block_tables.tolist() == [[2, 0, 5, 0, 0], [9, 8, 7, 6, 4], [1, 3, 0, 0, 0], [10, 0, 0, 0, 0]]
    assert batch.logit_rows.tolist() == [5, 6, 9]
    assert batch.host_query_lens == (5, 1, 1, 3)
    assert batch.host_context_lens == (21, 40, 9, 3)
    assert batch.host_block_tables == ((2, 0, 5), (9, 8, 7, 6, 4), (1, 3), (10,))
    assert [batch.token_ids.dtype, batch.query_starts.dtype] == [torch.int64, torch.int32]
    assert prompt_lens(rows, CPU).tolist() == [30] * 6 + [2] + [3] * 3


def test_a_chunk_across_blocks_and_no_sampled_row() -> None:
    batch = build_batch([BatchRow(list(range(6)), 2, (5, 1), False, 9)], 4, CPU)
    assert batch.slots.tolist() == [22, 23, 4, 5, 6, 7]
    assert batch.logit_rows.shape == (0,)
