"""Choosing an attention backend by name, or the fastest one this device can run.

Backends are imported only when they are asked for: Triton and flash-attn need not be installed.
"""

from __future__ import annotations

import importlib
from typing import Any, Protocol, cast

import torch

from fastgen_kernels.attention.base import AttentionBackend, AttentionShape

BACKENDS: dict[str, tuple[str, str]] = {
    "reference": ("fastgen_kernels.attention.reference", "ReferenceAttention"),
    "cpu": ("fastgen_kernels.attention.cpu", "CpuAttention"),
    "triton": ("fastgen_kernels.attention.triton", "TritonAttention"),
    "flash_attn": ("fastgen_kernels.attention.flash_attn", "FlashAttention"),
}
"""Name -> (module, class)."""

_FASTEST_FIRST = {"cuda": ("flash_attn", "triton", "reference"), "cpu": ("cpu", "reference")}


class AttentionUnavailableError(ValueError):
    """The backend that was asked for cannot run here; the message says why and what to choose instead."""


class _BackendClass(Protocol):
    def __call__(self, shape: AttentionShape) -> AttentionBackend[Any]: ...

    def unavailable_reason(self, shape: AttentionShape, device: torch.device, dtype: torch.dtype) -> str | None: ...


def select_backend(name: str, shape: AttentionShape, device: torch.device, dtype: torch.dtype) -> AttentionBackend[Any]:
    """The backend called `name`; "auto" is the fastest that can run on `device` with `dtype` and `shape`.

    Raises AttentionUnavailableError for a name nobody knows and for a backend that cannot run here.
    """
    if name == "auto":
        name = next(each for each in _candidates(device) if _reason_against(each, shape, device, dtype) is None)
    reason = _reason_against(name, shape, device, dtype)
    if reason is not None:
        working = [each for each in _candidates(device) if _reason_against(each, shape, device, dtype) is None]
        raise AttentionUnavailableError(
            f"attention={name} cannot run here: {reason}; choose attention=auto or one of: {', '.join(working)}"
        )
    return _load(name)(shape)


def _candidates(device: torch.device) -> tuple[str, ...]:
    return _FASTEST_FIRST.get(device.type, ("reference",))


def _load(name: str) -> _BackendClass:
    module, attribute = BACKENDS[name]
    return cast(_BackendClass, getattr(importlib.import_module(module), attribute))


def _reason_against(name: str, shape: AttentionShape, device: torch.device, dtype: torch.dtype) -> str | None:
    if name not in BACKENDS:
        return f"there is no such backend (known: {', '.join(BACKENDS)})"
    try:
        backend = _load(name)
    except ImportError as error:
        return (
            f"it needs a package that cannot be imported here ({error}); `pip install fastgen-serving[cuda]` may help"
        )
    return backend.unavailable_reason(shape, device, dtype)
