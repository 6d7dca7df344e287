"""Rotary position embedding, the half-split ("neox") layout that Hugging Face checkpoints use.

The angles' cosines and sines come from the model (fastgen.models.rope); here they are only applied:

    [ a | b ]  ->  [ a cos - b sin | b cos + a sin ]      a, b: halves of a head
"""

from __future__ import annotations

import torch


def apply_rotary(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Turns each head by its row's angles: x [T, heads, D], cos and sin [T, D / 2] -> [T, heads, D], dtype of x.

    Give float32 cosines: half types are then computed in float32 and rounded once. Queries and keys
    that lie side by side in one tensor can be turned in one call. x may be a strided view.

    Su et al. 2021, https://arxiv.org/abs/2104.09864.
    """
    half = x.shape[-1] // 2
    cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
    first, second = x[..., :half], x[..., half:]
    if cos.dtype != x.dtype:
        first, second = first.to(cos.dtype), second.to(cos.dtype)
    turned = torch.empty(x.shape, dtype=cos.dtype, device=x.device)
    torch.mul(first, cos, out=turned[..., :half]).addcmul_(second, sin, value=-1)
    torch.mul(second, cos, out=turned[..., half:]).addcmul_(first, sin)
    return turned.to(x.dtype)
