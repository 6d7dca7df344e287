"""A linear layer that multiplies the way this machine does fastest."""

from __future__ import annotations

from bisect import bisect_left
from typing import Literal

import torch

from fastgen_kernels.linear.candidates import CANDIDATES
from fastgen_kernels.linear.choice import PLAIN, LinearChoice
from fastgen_kernels.linear.measure import measured_choice


class Linear:
    """y = x weightᵀ + bias: x [..., in] -> [..., out], dtype of x."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, choice: LinearChoice = PLAIN) -> None:
        self.out_features, self.in_features = weight.shape
        self.choice = choice
        ways = {name: CANDIDATES[name].build(weight, bias) for name in set(choice.names)}
        self._most_tokens = choice.most_tokens
        self._multiply = tuple(ways[name] for name in choice.names)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        rows = x if x.dim() == 2 else x.reshape(-1, self.in_features)
        y = self._multiply[bisect_left(self._most_tokens, rows.shape[0])](rows)
        return y if x.dim() == 2 else y.view(*x.shape[:-1], self.out_features)


def prepare_linear(
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    mode: Literal["auto", "plain"] = "auto",
    choice: LinearChoice | None = None,
) -> Linear:
    """weight [out, in], bias [out] or None, on any device -> the layer.

    mode "auto" measures this machine's ways to multiply by weights of this shape and dtype, once; "plain"
    is torch's own, always. `choice` overrides both. On a GPU torch's own is taken: cuBLAS measures by itself.
    The layer may keep a copy in another layout instead of `weight`, which is then free to go.
    """
    if choice is None:
        choice = measured_choice(weight, bias is not None) if mode == "auto" else PLAIN
    return Linear(weight, bias, choice)
