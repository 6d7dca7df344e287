"""The CPU backend against the reference, over ragged batches of every kind."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ragged_batches import AttentionStep, attend, attention_shape, ragged_step

from fastgen_kernels.attention import cpu_plan
from fastgen_kernels.attention.cpu import CpuAttention


@st.composite
def steps(draw: st.DrawFn) -> AttentionStep:
    kv_heads = draw(st.integers(1, 3))
    shape = attention_shape(
        num_heads=kv_heads * draw(st.sampled_from([1, 2, 4])),
        num_kv_heads=kv_heads,
        head_dim=draw(st.sampled_from([8, 16, 20])),
        block_tokens=draw(st.sampled_from([1, 4, 16, 64])),
        window_tokens=draw(st.none() | st.integers(1, 60)),
    )
    sizes = draw(
        st.lists(st.tuples(st.just(1) | st.integers(1, 70), st.integers(0, 150)), min_size=1, max_size=6).map(
            lambda drawn: [(query, query + history) for query, history in drawn]
        )
    )
    return ragged_step(
        shape,
        sizes,
        swaps=draw(st.sampled_from([0, 1, 100])),
        memory_order=draw(st.sampled_from([(0, 1, 2, 3), CpuAttention.memory_order])),
        seed=draw(st.integers(0, 100)),
    )


@given(step=steps(), short_tokens=st.sampled_from([0, 5, 40, 10_000]))
@settings(max_examples=80, deadline=None)
def test_agrees_with_the_reference(step: AttentionStep, short_tokens: int) -> None:
    """Whatever the thresholds choose: views of runs, gathered blocks, decodes one by one or together."""
    backend = CpuAttention(step.shape)
    backend.planner.short_run_tokens = backend.planner.short_decode_tokens = short_tokens
    expected = attend("reference", step)
    actual = backend.attend(step.q, step.k, step.v, step.cache, backend.plan(step.batch))
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 2e-2), (torch.float16, 3e-3)])
@pytest.mark.parametrize("window", [None, 50])
def test_half_types_accumulate_in_float32(dtype: torch.dtype, tolerance: float, window: int | None) -> None:
    shape = attention_shape(num_heads=8, num_kv_heads=2, head_dim=64, window_tokens=window)
    step = ragged_step(shape, [(1, 700), (1, 20), (33, 400), (64, 64)], dtype=dtype, swaps=9)
    actual = attend("cpu", step)
    assert actual.dtype == dtype
    torch.testing.assert_close(actual.float(), attend("reference", step).float(), atol=tolerance, rtol=tolerance)


def test_queries_may_be_views_of_one_fused_projection() -> None:
    step = ragged_step(attention_shape(), [(9, 30), (1, 30)])
    fused = torch.cat((step.q, step.k, step.v), dim=1)
    q, k, v = fused[:, :4], fused[:, 4:6], fused[:, 6:]
    torch.testing.assert_close(attend("cpu", step._replace(q=q, k=k, v=v)), attend("reference", step))


def test_whole_runs_are_read_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unfragmented table makes one view per sequence and copies nothing; a fragmented one is one copy."""
    monkeypatch.setattr(cpu_plan, "SHORT_DECODE_BYTES", 0)
    shape = attention_shape()
    whole = CpuAttention(shape).plan(ragged_step(shape, [(1, 500), (20, 300)]).batch)
    assert [(piece.num_tokens, piece.blocks) for each in whole.sequences for piece in each.history] == [
        (500, None),
        (280, None),
    ]
    broken = CpuAttention(shape).plan(ragged_step(shape, [(1, 500)], swaps=500).batch)
    (piece,) = broken.sequences[0].history
    assert piece.num_tokens == 500
    assert piece.blocks is not None


def test_many_short_decodes_share_one_call() -> None:
    shape = attention_shape()
    plan = CpuAttention(shape).plan(ragged_step(shape, [(1, 10 + n) for n in range(20)]).batch)
    assert plan.sequences == ()
    assert plan.decodes is not None
    assert plan.decodes.rows.tolist() == list(range(20))
