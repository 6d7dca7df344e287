"""Which families there are, found by `architectures` in config.json, else by `model_type`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from fastgen.errors import ModelError
from fastgen.models.config_file import ConfigFile
from fastgen.models.llama import read_llama
from fastgen.models.mistral import read_mistral
from fastgen.models.opt import read_opt
from fastgen.models.spec import DecoderSpec, TensorNames


class Family(NamedTuple):
    """How a kind of config.json is read."""

    architecture: str
    model_type: str
    read: Callable[[ConfigFile], tuple[DecoderSpec, TensorNames]]


FAMILIES = (
    Family("LlamaForCausalLM", "llama", read_llama),
    Family("MistralForCausalLM", "mistral", read_mistral),
    Family("OPTForCausalLM", "opt", read_opt),
)

_ALIASES = {"LLaMAForCausalLM": "LlamaForCausalLM"}


def read_spec(folder: Path) -> tuple[DecoderSpec, TensorNames]:
    """The decoder described by folder/config.json.

    Raises ModelError for an architecture nobody here knows and for keys or values that are not supported.
    """
    config = ConfigFile.load(folder)
    spec, names = _family_of(config).read(config)
    config.finish()
    return spec, names


def _family_of(config: ConfigFile) -> Family:
    architectures = config.peek("architectures") or []
    model_type = config.peek("model_type")
    known = ", ".join(family.architecture for family in FAMILIES)
    if not isinstance(architectures, list):
        raise config.unsupported("architectures", architectures, f"a list with one of {known}")
    wanted = [_ALIASES.get(name, name) for name in architectures]
    for family in FAMILIES:
        if family.architecture in wanted or (not wanted and family.model_type == model_type):
            return family
    named = ", ".join(map(str, architectures)) or f"model_type {model_type}"
    raise ModelError(f"{config.path}: the architecture {named} is not supported; FastGen runs {known}")
