"""Ways to multiply by a weight matrix on a CPU. Which is fastest depends on machine, shape, dtype and tokens.

Packed weights are laid out as the GEMM's inner loop reads them, so they need not be repacked at each call:
up to 3 times faster at 4 to 16 tokens, and no different on other machines. Hence measuring (measure.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

Multiply = Callable[[torch.Tensor], torch.Tensor]
"""x [T, in] -> x weightᵀ + bias [T, out]."""


class Candidate(NamedTuple):
    """One way to multiply."""

    name: str
    keeps_weight: bool
    """Reads the weight as it was given, so that it must stay in memory."""
    makes_copy: bool
    """Makes a copy of the weight in a layout of its own."""
    is_available: Callable[[torch.dtype], bool]
    build: Callable[[torch.Tensor, torch.Tensor | None], Multiply]
    """(weight [out, in], bias [out] or None) -> Multiply"""


PACKED_FOR_TOKENS = 16
"""Packing asks for a typical number of rows; the packed weight serves any number."""


def _plain(weight: torch.Tensor, bias: torch.Tensor | None) -> Multiply:
    return lambda x: F.linear(x, weight, bias)


def _transposed(weight: torch.Tensor, bias: torch.Tensor | None) -> Multiply:
    columns = weight.t().contiguous()
    if bias is None:
        return lambda x: torch.mm(x, columns)
    return lambda x: torch.addmm(bias, x, columns)


def _onednn(weight: torch.Tensor, bias: torch.Tensor | None) -> Multiply:
    multiply = torch.ops.mkldnn._linear_pointwise.default
    return lambda x: multiply(x, weight, bias, "none", [], "")


def _onednn_packed(weight: torch.Tensor, bias: torch.Tensor | None) -> Multiply:
    return _onednn(torch.ops.mkldnn._reorder_linear_weight(weight, PACKED_FOR_TOKENS), bias)


def _mkl_packed(weight: torch.Tensor, bias: torch.Tensor | None) -> Multiply:
    packed = torch.ops.mkl._mkl_reorder_linear_weight(weight, PACKED_FOR_TOKENS)
    multiply = torch.ops.mkl._mkl_linear.default
    # The last argument only chooses between the packed weight (when it equals the rows of x) and the other one.
    return lambda x: multiply(x, packed, weight, bias, x.shape[0])


def _has_onednn(dtype: torch.dtype) -> bool:
    if not _backend_available(torch.backends.mkldnn) or not _has_op("mkldnn", "_linear_pointwise"):
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and _has_op("mkldnn", "_reorder_linear_weight")
    if dtype == torch.float16:
        return bool(torch.ops.mkldnn._is_mkldnn_fp16_supported()) and _has_op("mkldnn", "_reorder_linear_weight")
    return dtype == torch.float32 and _has_op("mkldnn", "_reorder_linear_weight")


def _has_mkl(dtype: torch.dtype) -> bool:
    return dtype == torch.float32 and _backend_available(torch.backends.mkl) and _has_op("mkl", "_mkl_linear")


def _backend_available(backend: Any) -> bool:
    return bool(backend.is_available())


def _has_op(namespace: str, name: str) -> bool:
    return hasattr(getattr(torch.ops, namespace), name)


def _always(dtype: torch.dtype) -> bool:  # noqa: ARG001
    return True


CANDIDATES: dict[str, Candidate] = {
    each.name: each
    for each in (
        Candidate("plain", True, False, _always, _plain),
        Candidate("onednn", True, False, _has_onednn, _onednn),
        Candidate("transposed", False, True, _always, _transposed),
        Candidate("onednn_packed", False, True, _has_onednn, _onednn_packed),
        Candidate("mkl_packed", True, True, _has_mkl, _mkl_packed),
    )
}
"""By name; "plain" first, for it is what the others must agree with."""
