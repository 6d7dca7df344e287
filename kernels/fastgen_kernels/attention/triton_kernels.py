"""The Triton kernels of the paged attention backend; what is launched when is triton.py's business.

A program takes a *tile*: BLOCK_Q tokens of one sequence with all query heads of one KV head, so that the
matrix unit is fed even by a single decode. Rows of a tile, GROUP = heads per KV head up to a power of two:

    row      0        1        ...  GROUP       GROUP + 1
    token    first    first         first + 1   first + 1
    head     0        1             0           1

It walks the keys those tokens see, BLOCK_N at a time through the block table, with an online softmax in
base 2 and float32. A tile's keys may be divided among `num_splits` programs; merge_splits joins them.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator"
# ruff: noqa: PLR0915 - a kernel is one function; what it calls is inlined anyway

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def attend_tiles(
    out_ptr,  # [T, heads, HEAD_DIM]; with PARTIAL float32 [tiles, heads, num_splits, HEAD_DIM]
    lse_ptr,  # with PARTIAL float32 [tiles, heads, num_splits], base 2; else unused
    q_ptr,
    k_ptr,
    v_ptr,
    tile_sequences_ptr,  # [tiles] int32
    tile_firsts_ptr,  # [tiles] int32: the tile's first token, counted from the start of its chunk
    query_starts_ptr,
    context_lens_ptr,
    block_tables_ptr,
    scale_log2,  # scale * log2(e)
    num_splits,
    q_stride_token,
    q_stride_head,
    out_stride_token,
    kv_stride_block,
    kv_stride_token,
    kv_stride_head,
    table_stride,
    HEADS_PER_KV: tl.constexpr,
    GROUP: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_N: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    HEAD_DIM_PADDED: tl.constexpr,
    BLOCK_TOKENS: tl.constexpr,
    WINDOW: tl.constexpr,  # 0: none
    PARTIAL: tl.constexpr,
):
    tile, kv_head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    sequence = tl.load(tile_sequences_ptr + tile)
    first = tl.load(tile_firsts_ptr + tile)
    query_start = tl.load(query_starts_ptr + sequence)
    query_len = tl.load(query_starts_ptr + sequence + 1) - query_start
    context_len = tl.load(context_lens_ptr + sequence)

    rows = tl.arange(0, BLOCK_Q * GROUP)
    tokens = first + rows // GROUP
    heads = rows % GROUP
    dims = tl.arange(0, HEAD_DIM_PADDED)
    row_exists = (tokens < query_len) & (heads < HEADS_PER_KV)
    row_mask = row_exists[:, None] & (dims < HEAD_DIM)[None, :]
    query_heads = kv_head * HEADS_PER_KV + heads
    positions = context_len - query_len + tokens
    q_offsets = (query_start + tokens) * q_stride_token + query_heads * q_stride_head
    q = tl.load(q_ptr + q_offsets[:, None] + dims[None, :], mask=row_mask, other=0.0)

    first_position = context_len - query_len + first
    keys_end = tl.minimum(context_len, first_position + BLOCK_Q)
    keys_begin = 0
    if WINDOW > 0:
        keys_begin = tl.maximum(0, first_position - WINDOW + 1)
    per_split = tl.cdiv(tl.cdiv(keys_end - keys_begin, BLOCK_N), num_splits) * BLOCK_N
    begin = keys_begin + split * per_split
    end = tl.minimum(keys_end, begin + per_split)

    highest = tl.full([BLOCK_Q * GROUP], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_Q * GROUP], tl.float32)
    acc = tl.zeros([BLOCK_Q * GROUP, HEAD_DIM_PADDED], tl.float32)
    table_ptr = block_tables_ptr + sequence.to(tl.int64) * table_stride
    for start in range(begin, end, BLOCK_N):
        keys = start + tl.arange(0, BLOCK_N)
        exists = keys < end
        block = tl.load(table_ptr + keys // BLOCK_TOKENS, mask=exists, other=0).to(tl.int64)
        kv_offsets = block * kv_stride_block + (keys % BLOCK_TOKENS) * kv_stride_token + kv_head * kv_stride_head
        k = tl.load(
            k_ptr + kv_offsets[None, :] + dims[:, None],
            mask=exists[None, :] & (dims < HEAD_DIM)[:, None],
            other=0.0,
        )
        v = tl.load(
            v_ptr + kv_offsets[:, None] + dims[None, :],
            mask=exists[:, None] & (dims < HEAD_DIM)[None, :],
            other=0.0,
        )
        scores = tl.dot(q, k, input_precision="ieee") * scale_log2
        visible = exists[None, :] & (keys[None, :] <= positions[:, None])
        if WINDOW > 0:
            visible = visible & (keys[None, :] > positions[:, None] - WINDOW)
        scores = tl.where(visible, scores, float("-inf"))
        new_highest = tl.maximum(highest, tl.max(scores, 1))
        # Rows that have seen nothing yet: -inf - -inf would be NaN.
        base = tl.where(new_highest == float("-inf"), 0.0, new_highest)
        weights = tl.exp2(scores - base[:, None])
        fade = tl.exp2(highest - base)
        total = total * fade + tl.sum(weights, 1)
        acc = acc * fade[:, None] + tl.dot(weights.to(v.dtype), v, input_precision="ieee")
        highest = new_highest

    result = acc / tl.where(total == 0.0, 1.0, total)[:, None]
    if PARTIAL:
        num_heads = tl.num_programs(1) * HEADS_PER_KV
        places = (tile * num_heads + query_heads) * num_splits + split
        tl.store(out_ptr + (places * HEAD_DIM)[:, None] + dims[None, :], result, mask=row_mask)
        tl.store(lse_ptr + places, highest + tl.log2(total), mask=row_exists)
    else:
        out_offsets = (query_start + tokens) * out_stride_token + query_heads * HEAD_DIM
        tl.store(out_ptr + out_offsets[:, None] + dims[None, :], result.to(out_ptr.dtype.element_ty), mask=row_mask)


@triton.jit
def merge_splits(
    out_ptr,  # [T, heads, HEAD_DIM]
    partial_ptr,  # float32 [tiles, heads, num_splits, HEAD_DIM]
    lse_ptr,  # float32 [tiles, heads, num_splits], base 2; -inf where a split had no keys
    tile_sequences_ptr,
    query_starts_ptr,
    out_stride_token,
    num_splits,
    HEAD_DIM: tl.constexpr,
    HEAD_DIM_PADDED: tl.constexpr,
    SPLITS_PADDED: tl.constexpr,
):
    tile, head = tl.program_id(0), tl.program_id(1)
    row = tl.load(query_starts_ptr + tl.load(tile_sequences_ptr + tile))
    place = (tile * tl.num_programs(1) + head) * num_splits
    splits = tl.arange(0, SPLITS_PADDED)
    dims = tl.arange(0, HEAD_DIM_PADDED)
    lse = tl.load(lse_ptr + place + splits, mask=splits < num_splits, other=float("-inf"))
    weights = tl.exp2(lse - tl.max(lse, 0))
    weights = weights / tl.sum(weights, 0)
    partial = tl.load(
        partial_ptr + ((place + splits) * HEAD_DIM)[:, None] + dims[None, :],
        mask=(splits < num_splits)[:, None] & (dims < HEAD_DIM)[None, :],
        other=0.0,
    )
    result = tl.sum(partial * weights[:, None], 0)
    out_offsets = row * out_stride_token + head * HEAD_DIM + dims
    tl.store(out_ptr + out_offsets, result.to(out_ptr.dtype.element_ty), mask=dims < HEAD_DIM)
