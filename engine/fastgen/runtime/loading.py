"""From a model folder to a decoder on the device, with a progress bar and about one copy of the weights in memory."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping
from typing import Any

import torch
from tqdm import tqdm

from fastgen.errors import ModelError
from fastgen.models.decoder import Decoder, PrepareLinear, build_decoder
from fastgen.models.spec import DecoderSpec, Parameter, TensorNames
from fastgen.runtime.checkpoint import Checkpoint
from fastgen_kernels.attention.base import AttentionBackend

log = logging.getLogger(__name__)


class CheckpointReader:
    """Reads parameters into place: parts stacked, cast and moved in one copy each."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        actual_names: Mapping[str, str],
        dtype: torch.dtype,
        device: torch.device,
        progress: tqdm[Any],
    ) -> None:
        self.dtype = dtype
        self.device = device
        self.weight_bytes = 0
        self._checkpoint = checkpoint
        self._actual_names = actual_names
        self._progress = progress

    def __call__(self, parameter: Parameter) -> torch.Tensor:
        whole = torch.empty(parameter.shape, dtype=self.dtype, device=self.device)
        start = 0
        for part in parameter.parts:
            source = self._checkpoint.read(self._actual_names[part.name])
            target = whole[start : start + part.shape[0]]
            target.copy_(source)
            self._check_range(target, source, part.name)
            start += part.shape[0]
            self._progress.update(source.nbytes)
        self.weight_bytes += whole.nbytes
        return whole

    def _check_range(self, target: torch.Tensor, source: torch.Tensor, name: str) -> None:
        if self.dtype != torch.float16 or source.dtype == torch.float16 or bool(target.isfinite().all()):
            return
        raise ModelError(
            f"tensor {name} holds values beyond float16's range (65504); choose dtype=bfloat16 or dtype=float32"
        )


def load_decoder(
    checkpoint: Checkpoint,
    actual_names: Mapping[str, str],
    spec: DecoderSpec,
    names: TensorNames,
    *,
    dtype: torch.dtype,
    device: torch.device,
    prepare: PrepareLinear,
    attention: AttentionBackend[Any],
    show_progress: bool,
) -> tuple[Decoder, int]:
    """The decoder and the bytes of its weights; `actual_names` are `checkpoint.match`'s.

    The bar goes to stderr where
    that is a terminal; the log gets one line either way.
    """
    total_bytes = sum(checkpoint.read(name).nbytes for name in actual_names.values())
    started = time.monotonic()
    quiet = not (show_progress and sys.stderr.isatty())
    with tqdm(
        total=total_bytes, unit="B", unit_scale=True, unit_divisor=1024, desc="weights", disable=quiet, leave=False
    ) as bar:
        reader = CheckpointReader(checkpoint, actual_names, dtype, device, bar)
        decoder = build_decoder(spec, names, reader, prepare, attention)
    log.info(
        "loaded %s: %.1f MiB of weights as %s on %s in %.1f s",
        spec.architecture,
        reader.weight_bytes / 2**20,
        str(dtype).removeprefix("torch."),
        device,
        time.monotonic() - started,
    )
    return decoder, reader.weight_bytes
