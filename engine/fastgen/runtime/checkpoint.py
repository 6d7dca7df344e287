"""The safetensors files of a model folder: what they hold, whether that is what the model needs, and the bytes.

Only headers are read to answer the first two; the bytes are memory-mapped. Pickled checkpoints are never
opened: unpickling runs code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open

from fastgen.errors import ModelError
from fastgen.models.spec import DecoderSpec, Parameter, TensorNames, global_parameters, layer_parameters

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
_SHOWN = 8


class TensorInfo(NamedTuple):
    """A tensor as its file's header describes it."""

    file: Path
    shape: tuple[int, ...]
    dtype: str
    """safetensors' name: F32, BF16, F16, ..."""


class Checkpoint:
    """All tensors of a folder, by name. Use as a context manager: files stay mapped until it ends."""

    def __init__(self, folder: Path, tensors: Mapping[str, TensorInfo]) -> None:
        self.folder = folder
        self.tensors = dict(tensors)
        self._open: dict[Path, Any] = {}

    @classmethod
    def open(cls, folder: Path) -> Checkpoint:
        """Read every header. Raises ModelError where files are missing, damaged or not safetensors."""
        tensors: dict[str, TensorInfo] = {}
        for file in _files_of(folder):
            for name, info in _read_header(file).items():
                if name in tensors:
                    raise ModelError(f"{folder}: tensor {name} is in {tensors[name].file.name} and in {file.name}")
                tensors[name] = info
        return cls(folder, tensors)

    def read(self, name: str) -> torch.Tensor:
        """The tensor, backed by the file's pages: copy it, do not keep it."""
        file = self.tensors[name].file
        if file not in self._open:
            self._open[file] = safe_open(file, framework="pt", device="cpu")
        tensor: torch.Tensor = self._open[file].get_tensor(name)
        return tensor

    def close(self) -> None:
        self._open.clear()

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _files_of(folder: Path) -> list[Path]:
    index = folder / INDEX_FILE
    if index.is_file():
        return _files_of_index(index)
    if (folder / SINGLE_FILE).is_file():
        return [folder / SINGLE_FILE]
    pickled = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in folder.glob(pattern))
    if pickled:
        raise ModelError(
            f"{folder} holds only pickled weights ({', '.join(pickled[:3])}), which can run code when they are opened; "
            f"convert them once: from_pretrained(folder) and save_pretrained(other_folder) of transformers "
            f"writes {SINGLE_FILE}"
        )
    raise ModelError(f"{folder} holds no weights: neither {SINGLE_FILE} nor {INDEX_FILE}")


def _files_of_index(index: Path) -> list[Path]:
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        names = sorted(set(weight_map.values()))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ModelError(f"{index} is damaged: expected a JSON object with a weight_map; fetch it again") from None
    outside = [name for name in names if Path(name).name != name]
    if outside:
        raise ModelError(f"{index} names files outside its folder: {', '.join(outside[:3])}")
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        shown = _listed(missing)
        raise ModelError(f"{index} names files that are not there: {shown}; the download may be incomplete")
    return [index.parent / name for name in names]


def _read_header(file: Path) -> dict[str, TensorInfo]:
    try:
        with safe_open(file, framework="pt", device="cpu") as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
            return {name: TensorInfo(file, tuple(s.get_shape()), s.get_dtype()) for name, s in slices.items()}
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{file} cannot be read as safetensors ({error}); it may be cut short: fetch it again"
        ) from None


def all_parameters(spec: DecoderSpec, names: TensorNames) -> list[Parameter]:
    """Every parameter of the model."""
    found = list(global_parameters(spec, names))
    for layer in range(spec.num_layers):
        found += layer_parameters(spec, names, layer)
    return found


def match(checkpoint: Checkpoint, spec: DecoderSpec, names: TensorNames) -> dict[str, str]:
    """For each tensor the model needs, its name in the checkpoint.

    Raises ModelError naming every tensor that is missing, of the wrong shape, or there without a use.
    """
    wanted = {part.name: part.shape for parameter in all_parameters(spec, names) for part in parameter.parts}
    found = {name: actual for name in wanted if (actual := _find(name, checkpoint, names)) is not None}
    problems = []
    missing = [name for name in wanted if name not in found]
    if missing:
        problems.append(f"missing: {_listed(missing)}")
    misshapen = [
        f"{actual} is {list(checkpoint.tensors[actual].shape)}, the config asks for {list(wanted[name])}"
        for name, actual in found.items()
        if checkpoint.tensors[actual].shape != wanted[name]
    ]
    if misshapen:
        problems.append(f"misshapen: {_listed(misshapen)}")
    harmless = _harmless(spec, names)
    used = set(found.values())
    extra = [name for name in checkpoint.tensors if name not in used and not harmless.fullmatch(name)]
    if extra:
        problems.append(f"not part of {spec.architecture}: {_listed(extra)}")
    if problems:
        raise ModelError(f"{checkpoint.folder}: the weights do not fit config.json; {'; '.join(problems)}")
    return found


def _find(name: str, checkpoint: Checkpoint, names: TensorNames) -> str | None:
    for candidate in (name, *(name.removeprefix(prefix) for prefix in names.strip_prefixes)):
        if candidate in checkpoint.tensors:
            return candidate
    return None


def _harmless(spec: DecoderSpec, names: TensorNames) -> re.Pattern[str]:
    """Known extras: what the family lists, and a copy of the embedding where the head is tied to it."""
    patterns = list(names.ignored)
    if spec.tied_embeddings:
        patterns.append(re.escape(f"{names.head}.weight"))
    return re.compile("|".join(patterns) or "(?!)")


def _listed(items: Iterable[str]) -> str:
    items = list(items)
    rest = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(items[:_SHOWN]) + rest
