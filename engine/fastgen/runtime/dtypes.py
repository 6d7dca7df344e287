"""Which dtype the weights and activations take: what was asked for, or the fastest that loses no range.

checkpoint   may run as
float32      float32, bfloat16
bfloat16     bfloat16, float32
float16      float16, float32, bfloat16          (bfloat16 reaches further, with fewer digits)
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F

from fastgen.config import DtypeName
from fastgen.errors import ModelError
from fastgen.models.spec import DecoderSpec
from fastgen.runtime.measurements import measurement_file, remembered

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

MEASURED_TOKENS = (1, 16, 256)
"""A decode, a batch of them, a chunk."""
_LARGEST_SIDE = 2048
_SECONDS_PER_DTYPE = 0.3
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
    """The dtype to run in, and why, in one line for the log.

    `auto` measures once per machine and shape (a third of a second per dtype), so that replicas agree."""
    if asked != "auto":
        return DTYPES[asked], f"dtype {asked}: asked for"
    candidates = [name for name in _WITHOUT_LOSS_OF_RANGE[checkpoint] if _runs_on(name, device)]
    if not candidates:
        raise ModelError(
            f"{device} runs none of {', '.join(_WITHOUT_LOSS_OF_RANGE[checkpoint])}; choose dtype= yourself"
        )
    file = measurement_file("dtype", device, spec.hidden_size, spec.intermediate_size, *candidates)
    by_name = remembered(
        file, lambda: {name: list(measure(DTYPES[name], spec, device).values()) for name in candidates}
    )
    times = {name: dict(zip(MEASURED_TOKENS, by_name[name], strict=True)) for name in candidates}
    chosen = choose(checkpoint, {name: cost(by_tokens) for name, by_tokens in times.items()})
    sizes = "/".join(map(str, MEASURED_TOKENS))
    figures = ", ".join(
        f"{name} {'/'.join(f'{by_tokens[count] * 1e3:.3g}' for count in MEASURED_TOKENS)} ms"
        for name, by_tokens in times.items()
    )
    return DTYPES[chosen], f"dtype {chosen}: a {checkpoint} checkpoint; multiplying {sizes} tokens took {figures}"


def choose(checkpoint: str, costs: Mapping[str, float]) -> str:
    """The checkpoint's own dtype, unless another is clearly faster."""
    fastest = min(costs, key=lambda name: costs[name])
    own = costs.get(checkpoint)
    return checkpoint if own is not None and own < costs[fastest] * _WORTHWHILE else fastest


def cost(seconds_by_tokens: Mapping[int, float]) -> float:
    """One figure for decodes and chunks alike: each time relative to the square root of its tokens, for a chunk
    costs more than a decode by its arithmetic and less than in proportion, memory bounding the small ones."""
    return sum(seconds / math.sqrt(count) for count, seconds in seconds_by_tokens.items())


def measure(dtype: torch.dtype, spec: DecoderSpec, device: torch.device) -> dict[int, float]:
    """Seconds for multiplications shaped like one layer's, by number of tokens.

    The best of each, for other processes only ever add time. A dtype so slow that the time for measuring runs
    out is extrapolated from the sizes that were reached.
    """
    hidden, wide = min(spec.hidden_size, _LARGEST_SIDE), min(spec.intermediate_size, 2 * _LARGEST_SIDE)
    shapes = ((hidden, hidden), (wide, hidden), (hidden, wide))
    weights = [torch.full(shape, 0.01, dtype=dtype, device=device) for shape in shapes]
    inputs = {
        side: torch.full((max(MEASURED_TOKENS), side), 0.01, dtype=dtype, device=device) for side in (hidden, wide)
    }

    def multiply(tokens: int) -> float:
        _wait_for(device)
        started = time.perf_counter()
        for weight in weights:
            F.linear(inputs[weight.shape[1]][:tokens], weight)
        _wait_for(device)
        return time.perf_counter() - started

    multiply(1)
    deadline = time.monotonic() + _SECONDS_PER_DTYPE
    best: dict[int, float] = {}
    for index, tokens in enumerate(MEASURED_TOKENS, start=1):
        slice_end = deadline - _SECONDS_PER_DTYPE * (1 - index / len(MEASURED_TOKENS))
        if best and time.monotonic() > deadline:
            break
        best[tokens] = multiply(tokens)
        while time.monotonic() < slice_end:
            best[tokens] = min(best[tokens], multiply(tokens))
    reached = max(best)
    return {tokens: best.get(tokens, best[reached] * tokens / reached) for tokens in MEASURED_TOKENS}


def _runs_on(name: str, device: torch.device) -> bool:
    if device.type != "cuda" or name != "bfloat16":
        return True
    return torch.cuda.get_device_capability(device) >= (8, 0)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
