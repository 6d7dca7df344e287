"""The judge is judged by torch's own attention, and by the definition worked out by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from ragged_batches import attend, attention_shape, ragged_step

from fastgen_kernels.attention.base import LayerCache


@pytest.mark.parametrize("window", [None, 1, 5])
def test_agrees_with_torch_on_one_whole_prompt(window: int | None) -> None:
    step = ragged_step(attention_shape(window_tokens=window), [(37, 37)], swaps=5)
    distance = torch.arange(37)[:, None] - torch.arange(37)
    visible = (distance >= 0) & (distance < (window or 37))
    q, k, v = (each.transpose(0, 1).unsqueeze(0) for each in (step.q, step.k, step.v))
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=visible, scale=step.shape.scale, enable_gqa=True)
    torch.testing.assert_close(attend("reference", step), expected[0].transpose(0, 1))


def test_a_decode_averages_values_by_the_softmax_of_its_scores() -> None:
    shape = attention_shape(num_heads=1, num_kv_heads=1, head_dim=1, block_tokens=2)
    step = ragged_step(shape, [(1, 3)])
    keys, values = step.cache
    first, second = (int(block) for block in step.batch.block_tables[0])
    keys[first, 0], keys[first, 1], values[first, 0], values[first, 1] = 0.0, 1.0, 10.0, 20.0
    step.q.fill_(2.0), step.k.fill_(3.0), step.v.fill_(30.0)
    weights = torch.tensor([0.0, 2.0, 6.0]).exp()
    expected = (weights * torch.tensor([10.0, 20.0, 30.0])).sum() / weights.sum()
    assert float(attend("reference", step)) == pytest.approx(float(expected))
    assert step.cache == LayerCache(keys, values)
    assert float(keys[second, 0]) == 3.0


def test_a_chunk_sees_history_and_itself_up_to_its_own_position() -> None:
    """The last tokens of a prompt computed in one go are those of the prompt computed in two."""
    shape = attention_shape()
    whole = ragged_step(shape, [(40, 40)], swaps=3)
    expected = attend("reference", whole)
    rest = ragged_step(shape, [(11, 40)], swaps=3)._replace(cache=whole.cache)
    rest = rest._replace(q=whole.q[29:], k=whole.k[29:], v=whole.v[29:])
    torch.testing.assert_close(attend("reference", rest), expected[29:])
