"""A linear layer that multiplies the way this machine does fastest."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F


class LinearChoice(NamedTuple):
    """Which candidate multiplies at which number of tokens."""

    name: str = "plain"


class Linear:
    """y = x weightᵀ + bias: x [..., in] -> [..., out]."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        self.weight = weight
        self.bias = bias

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weight, self.bias)


def prepare_linear(
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    mode: Literal["auto", "plain"] = "auto",  # noqa: ARG001
    choice: LinearChoice | None = None,  # noqa: ARG001
) -> Linear:
    """weight [out, in], bias [out] -> the layer."""
    return Linear(weight, bias)
