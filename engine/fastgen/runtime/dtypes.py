"""Which dtype the weights and activations take: what was asked for, or the fastest that loses no range.

checkpoint   may run as
float32      float32, bfloat16
bfloat16     bfloat16, float32
float16      float16, float32, bfloat16          (bfloat16 reaches further, with fewer digits)
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F

from fastgen.config import DtypeName
from fastgen.errors import ModelError
from fastgen.models.spec import DecoderSpec

log = logging.getLogger(__name__)

DTYPES: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
_FILE_DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
_WITHOUT_LOSS_OF_RANGE: dict[str, tuple[str, ...]] = {
    "float32": ("float32", "bfloat16"),
    "bfloat16": ("bfloat16", "float32"),
    "float16": ("float16", "float32", "bfloat16"),
}

_MEASURED_TOKENS = (1, 16, 256)
"""A decode, a batch of them, a chunk."""
_LARGEST_SIDE = 2048
_SECONDS_PER_DTYPE = 0.25
_WORTHWHILE = 1.1
"""Another dtype than the checkpoint's own must be this much faster."""


def checkpoint_dtype(file_dtypes: Iterable[str]) -> str:
    """The dtype that holds the range of all of a checkpoint's tensors, from safetensors' names for them.

    Raises ModelError for quantized or integer weights.
    """
    kinds = set(file_dtypes)
    unknown = sorted(kinds - _FILE_DTYPES.keys())
    if unknown:
        raise ModelError(
            f"the checkpoint holds tensors of type {', '.join(unknown)}; supported are {', '.join(_FILE_DTYPES)}"
        )
    return _FILE_DTYPES[kinds.pop()] if len(kinds) == 1 else "float32"


def resolve_dtype(
    asked: DtypeName, checkpoint: str, spec: DecoderSpec, device: torch.device
) -> tuple[torch.dtype, str]:
    """The dtype to run in, and why, in one line for the log. `auto` measures (well under a second per dtype)."""
    if asked != "auto":
        return DTYPES[asked], f"dtype {asked}: asked for"
    candidates = [name for name in _WITHOUT_LOSS_OF_RANGE[checkpoint] if _runs_on(name, device)]
    if not candidates:
        raise ModelError(
            f"{device} runs none of {', '.join(_WITHOUT_LOSS_OF_RANGE[checkpoint])}; choose dtype= yourself"
        )
    seconds = {name: measure_seconds(DTYPES[name], spec, device) for name in candidates}
    chosen = choose(checkpoint, seconds)
    figures = ", ".join(f"{name} {value * 1e3:.2f} ms" for name, value in seconds.items())
    tokens = "+".join(map(str, _MEASURED_TOKENS))
    return DTYPES[chosen], f"dtype {chosen}: a {checkpoint} checkpoint; one layer at {tokens} tokens took {figures}"


def choose(checkpoint: str, seconds: Mapping[str, float]) -> str:
    """The checkpoint's own dtype, unless another is clearly faster."""
    fastest = min(seconds, key=lambda name: seconds[name])
    own = seconds.get(checkpoint)
    return checkpoint if own is not None and own < seconds[fastest] * _WORTHWHILE else fastest


def measure_seconds(dtype: torch.dtype, spec: DecoderSpec, device: torch.device) -> float:
    """Seconds for multiplications shaped like one layer's, summed over `_MEASURED_TOKENS` relative to their count,
    so that a decode and a chunk weigh alike. Best of a few rounds: other processes only ever add time."""
    hidden, wide = min(spec.hidden_size, _LARGEST_SIDE), min(spec.intermediate_size, 2 * _LARGEST_SIDE)
    shapes = ((hidden, hidden), (wide, hidden), (hidden, wide))
    weights = [torch.full(shape, 0.01, dtype=dtype, device=device) for shape in shapes]
    best = dict.fromkeys(_MEASURED_TOKENS, float("inf"))
    deadline = time.monotonic() + _SECONDS_PER_DTYPE
    rounds = 0
    while rounds < 2 or (time.monotonic() < deadline and rounds < 20):
        rounds += 1
        for tokens in _MEASURED_TOKENS:
            inputs = {
                columns: torch.full((tokens, columns), 0.01, dtype=dtype, device=device) for columns in (hidden, wide)
            }
            _wait_for(device)
            started = time.perf_counter()
            for weight in weights:
                F.linear(inputs[weight.shape[1]], weight)
            _wait_for(device)
            best[tokens] = min(best[tokens], time.perf_counter() - started)
    return sum(best[tokens] / _relative_cost(tokens) for tokens in _MEASURED_TOKENS)


def _relative_cost(tokens: int) -> float:
    """A chunk costs more than a decode by its arithmetic, less than in proportion: memory bounds the small ones."""
    return 1.0 if tokens == 1 else tokens**0.5


def _runs_on(name: str, device: torch.device) -> bool:
    if device.type != "cuda" or name != "bfloat16":
        return True
    return torch.cuda.get_device_capability(device) >= (8, 0)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
