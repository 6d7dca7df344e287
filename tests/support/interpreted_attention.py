"""Run by test_triton_interpreter.py in a process of its own, with TRITON_INTERPRET=1: prints one JSON object,
the worst difference between the triton backend and the reference for each case."""

from __future__ import annotations

import json

import torch
from ragged_batches import attend, attention_shape, ragged_step

from fastgen_kernels.attention import triton as backend

SIZES = [(1, 50), (1, 1), (7, 7), (40, 70), (1, 33), (2, 90)]
SHAPES = {
    "multi-head": attention_shape(2, 2, 16, 16),
    "grouped": attention_shape(3, 1, 20, 4),
    "window": attention_shape(4, 2, 64, 16, 9),
    "wide window, odd blocks": attention_shape(4, 1, 80, 7, 40),
}


def main() -> None:
    worst: dict[str, float] = {}
    for keys_per_split in (16, 1024):  # decodes divided among programs, and not
        backend.KEYS_PER_SPLIT = keys_per_split
        for dtype in (torch.float32, torch.float16):
            for name, shape in SHAPES.items():
                step = ragged_step(shape, SIZES, dtype=dtype, swaps=9)
                difference = (attend("triton", step).float() - attend("reference", step).float()).abs().max()
                worst[f"{name}, {dtype}, {keys_per_split}"] = float(difference)
    print(json.dumps(worst))


if __name__ == "__main__":
    main()
