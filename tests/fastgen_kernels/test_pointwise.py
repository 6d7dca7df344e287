"""Norms, rotary and activations against Hugging Face's own and against definitions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from transformers.activations import ACT2FN
from transformers.models.llama.modeling_llama import LlamaRMSNorm, apply_rotary_pos_emb

from fastgen_kernels.activations import ACTIVATIONS, GATED_ACTIVATIONS
from fastgen_kernels.norms import add_layer_norm, add_rms_norm, layer_norm, rms_norm
from fastgen_kernels.rotary import apply_rotary


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_rms_norm_is_llamas(dtype: torch.dtype) -> None:
    theirs = LlamaRMSNorm(96, eps=1e-5).to(dtype)
    theirs.weight.data.uniform_(0.5, 1.5)
    x = torch.randn(7, 96, dtype=dtype)
    torch.testing.assert_close(rms_norm(x, theirs.weight.data, 1e-5), theirs(x).data)


def test_add_norms_return_the_norm_and_the_sum_and_change_neither_input() -> None:
    x, residual, weight, bias = torch.randn(4, 32), torch.randn(4, 32), torch.rand(32), torch.rand(32)
    kept = x.clone(), residual.clone()
    normed, total = add_rms_norm(x, residual, weight, 1e-6)
    torch.testing.assert_close(total, x + residual)
    torch.testing.assert_close(normed, F.rms_norm(x + residual, (32,), weight, 1e-6))
    normed, total = add_layer_norm(x, residual, weight, bias, 1e-6)
    torch.testing.assert_close(total, x + residual)
    torch.testing.assert_close(normed, layer_norm(x + residual, weight, bias, 1e-6))
    assert torch.equal(x, kept[0])
    assert torch.equal(residual, kept[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rotary_is_llamas(dtype: torch.dtype) -> None:
    tokens, heads, head_dim = 11, 3, 24
    angles = torch.arange(tokens)[:, None] * 100.0 ** -(torch.arange(head_dim // 2) / (head_dim // 2))
    doubled = torch.cat((angles, angles), dim=-1)
    fused = torch.randn(tokens, heads + 2, head_dim).to(dtype)
    x = fused[:, :heads]  # a view, as of a fused projection
    theirs, _ = apply_rotary_pos_emb(x.float(), x.float(), doubled.cos(), doubled.sin())
    actual = apply_rotary(x, angles.cos(), angles.sin())
    assert actual.dtype == dtype
    torch.testing.assert_close(actual, theirs.to(dtype))


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_activations_are_the_ones_config_json_names(name: str) -> None:
    x = torch.linspace(-4, 4, 101)
    torch.testing.assert_close(ACTIVATIONS[name](x), ACT2FN[name](x), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", sorted(GATED_ACTIVATIONS))
def test_gated_activations_act_on_the_first_half(name: str) -> None:
    gate, up = torch.randn(5, 8), torch.randn(5, 8)
    expected = ACT2FN[name](gate) * up
    torch.testing.assert_close(GATED_ACTIVATIONS[name](torch.cat((gate, up), dim=-1)), expected, atol=1e-6, rtol=1e-5)
