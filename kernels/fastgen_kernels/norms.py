"""Layer normalisations, computed in float32 and rounded once, with the residual addition in the same call.

The `add_` variants return `(normed, residual)`: a decoder layer needs both, and one call lets a device
fuse them into a single pass over memory.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """x / rms(x) * weight over the last dimension: x [..., N], weight [N] -> [..., N], dtype of x.

    Zhang & Sennrich 2019, https://arxiv.org/abs/1910.07467. Half types are rounded before the weight
    multiplies, as Llama's own implementation does, so that bfloat16 checkpoints see what they were trained with.
    """
    # Written out: on a CPU torch's own rms_norm makes more passes over memory than these.
    wide = x.float()
    scale = torch.rsqrt(wide.square().mean(dim=-1, keepdim=True).add_(eps))
    return (wide * scale).to(x.dtype).mul_(weight)


def add_rms_norm(
    x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """residual' = residual + x; returns (rms_norm(residual'), residual'), both shaped as x."""
    residual = residual + x
    return rms_norm(residual, weight, eps), residual


def layer_norm(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, eps: float) -> torch.Tensor:
    """(x - mean) / std * weight + bias over the last dimension: x [..., N] -> [..., N], dtype of x."""
    return F.layer_norm(x, (x.shape[-1],), weight, bias, eps)


def add_layer_norm(
    x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """residual' = residual + x; returns (layer_norm(residual'), residual'), both shaped as x."""
    residual = residual + x
    return layer_norm(residual, weight, bias, eps), residual
