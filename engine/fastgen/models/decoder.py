"""The one decoder. A ragged batch of chunks and decodes goes in; logits of the rows that sample come out.

    tokens [T] -> hidden [T, H] -> layers, keys and values into the cache -> rows [R, H] -> logits [R, vocab]

Rows nobody samples are dropped as soon as nothing depends on them any more: after the last layer's attention.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F

from fastgen.models.rope import Rope
from fastgen.models.spec import (
    DecoderSpec,
    LearnedPositions,
    Parameter,
    TensorNames,
    global_parameters,
    layer_parameters,
)
from fastgen_kernels.activations import ACTIVATIONS, GATED_ACTIVATIONS
from fastgen_kernels.attention.base import AttentionBackend, LayerCache
from fastgen_kernels.batch import RaggedBatch
from fastgen_kernels.norms import add_layer_norm, add_rms_norm, layer_norm, rms_norm
from fastgen_kernels.rotary import apply_rotary

Linear = Callable[[torch.Tensor], torch.Tensor]
"""x [T, in] -> [T, out]"""

PrepareLinear = Callable[[torch.Tensor, torch.Tensor | None], Linear]
"""weight [out, in], bias [out] or none -> the fastest way this machine has to multiply by it."""


class WeightReader(Protocol):
    """Where weights come from, already in the device and dtype the decoder runs in."""

    device: torch.device
    dtype: torch.dtype

    def __call__(self, parameter: Parameter) -> torch.Tensor: ...


class Norm(Protocol):
    """A layer normalisation, alone or with the addition of the residual before it."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor: ...

    def add(self, x: torch.Tensor, residual: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(normed sum, sum)"""
        ...


class RmsNorm(NamedTuple):
    weight: torch.Tensor
    eps: float

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return rms_norm(x, self.weight, self.eps)

    def add(self, x: torch.Tensor, residual: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return add_rms_norm(x, residual, self.weight, self.eps)


class LayerNorm(NamedTuple):
    weight: torch.Tensor
    bias: torch.Tensor
    eps: float

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return layer_norm(x, self.weight, self.bias, self.eps)

    def add(self, x: torch.Tensor, residual: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return add_layer_norm(x, residual, self.weight, self.bias, self.eps)


class Layer(NamedTuple):
    """One layer's operations, in order."""

    attention_norm: Norm
    qkv: Linear
    o: Linear
    mlp_norm: Norm
    mlp_in: Linear
    mlp_out: Linear


class Step(NamedTuple):
    """What every layer of one forward pass shares."""

    batch: RaggedBatch
    caches: Sequence[LayerCache]
    plan: Any
    """The attention backend's."""
    angles: tuple[torch.Tensor, torch.Tensor] | None
    """Rope's cosines and sines, [T, D / 2] each."""


class Decoder:
    """Weights in place, ready to run. Built by `build_decoder`."""

    def __init__(
        self,
        spec: DecoderSpec,
        layers: Sequence[Layer],
        *,
        embedding: torch.Tensor,
        positions: torch.Tensor | None,
        project_in: Linear | None,
        final_norm: Norm | None,
        project_out: Linear | None,
        head: Linear,
        attention: AttentionBackend[Any],
    ) -> None:
        self.spec = spec
        self.layers = tuple(layers)
        self.attention = attention
        self._embedding = embedding
        self._positions = positions
        self._project_in = project_in
        self._final_norm = final_norm
        self._project_out = project_out
        self._head = head
        self._activation = (GATED_ACTIVATIONS if spec.gated_mlp else ACTIVATIONS)[spec.activation]
        self._rope = None if isinstance(spec.positions, LearnedPositions) else Rope(spec.positions, embedding.device)

    @property
    def needs_prompt_lens(self) -> bool:
        """True where a token's place depends on the length of its prompt: see RopeSpec.depends_on_prompt."""
        return self._rope is not None and self._rope.spec.depends_on_prompt

    def forward(
        self, batch: RaggedBatch, caches: Sequence[LayerCache], prompt_lens: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Write the batch's keys and values into `caches` (one per layer) and return logits [R, vocab] of
        batch.logit_rows, in the model's dtype. `prompt_lens` [T] int64 where `needs_prompt_lens`."""
        angles = None if self._rope is None else self._rope.angles(batch.positions, prompt_lens)
        step = Step(batch, caches, self.attention.plan(batch), angles)
        run = self._run_norm_before if self.spec.norm_before else self._run_norm_after
        rows = run(self._embed(batch), step)
        if self._project_out is not None:
            rows = self._project_out(rows)
        return self._head(rows)

    def _embed(self, batch: RaggedBatch) -> torch.Tensor:
        x = F.embedding(batch.token_ids, self._embedding)
        if self._project_in is not None:
            x = self._project_in(x)
        if self._positions is not None and isinstance(self.spec.positions, LearnedPositions):
            x = x.add_(F.embedding(batch.positions + self.spec.positions.offset, self._positions))
        return x

    def _run_norm_before(self, x: torch.Tensor, step: Step) -> torch.Tensor:
        last = len(self.layers) - 1
        rows = step.batch.logit_rows
        residual, normed = x, self.layers[0].attention_norm(x)
        for index, layer in enumerate(self.layers):
            attended = self._attend(index, normed, step)
            if index == last:
                attended, residual = attended[rows], residual[rows]
            normed, residual = layer.mlp_norm.add(layer.o(attended), residual)
            x = layer.mlp_out(self._activation(layer.mlp_in(normed)))
            if index < last:
                normed, residual = self.layers[index + 1].attention_norm.add(x, residual)
        return residual + x if self._final_norm is None else self._final_norm.add(x, residual)[0]

    def _run_norm_after(self, x: torch.Tensor, step: Step) -> torch.Tensor:
        last = len(self.layers) - 1
        rows = step.batch.logit_rows
        for index, layer in enumerate(self.layers):
            attended = self._attend(index, x, step)
            if index == last:
                attended, x = attended[rows], x[rows]
            x, _ = layer.attention_norm.add(layer.o(attended), x)
            x, _ = layer.mlp_norm.add(layer.mlp_out(self._activation(layer.mlp_in(x))), x)
        return x if self._final_norm is None else self._final_norm(x)

    def _attend(self, index: int, x: torch.Tensor, step: Step) -> torch.Tensor:
        """[T, hidden] -> [T, heads * head_dim]: what the heads saw, before the output projection."""
        heads, kv_heads, head_dim = self.spec.num_heads, self.spec.num_kv_heads, self.spec.head_dim
        turned = heads + kv_heads
        qkv = self.layers[index].qkv(x).view(-1, turned + kv_heads, head_dim)
        qk, v = qkv[:, :turned], qkv[:, turned:]
        if step.angles is not None:
            qk = apply_rotary(qk, *step.angles)
        q, k = qk[:, :heads], qk[:, heads:]
        cache = step.caches[index]
        self.attention.write(k, v, cache, step.batch)
        return self.attention.attend(q, k, v, cache, step.plan).flatten(1)


def build_decoder(
    spec: DecoderSpec,
    names: TensorNames,
    read: WeightReader,
    prepare: PrepareLinear,
    attention: AttentionBackend[Any],
) -> Decoder:
    """Read every weight, one parameter at a time, each prepared before the next is read: at no time do more
    than one parameter's bytes exist twice."""
    loaded = {p.name: read(p) for p in global_parameters(spec, names)}
    layers = [_build_layer(spec, names, index, read, prepare) for index in range(spec.num_layers)]
    return Decoder(
        spec,
        layers,
        embedding=loaded["embedding"],
        positions=loaded.get("positions"),
        project_in=prepare(loaded["project_in"], None) if spec.has_projections else None,
        final_norm=_build_norm(spec, loaded, "final_norm", read) if spec.final_norm else None,
        project_out=prepare(loaded["project_out"], None) if spec.has_projections else None,
        head=prepare(loaded["embedding" if spec.tied_embeddings else "head"], None),
        attention=attention,
    )


def _build_layer(
    spec: DecoderSpec, names: TensorNames, index: int, read: WeightReader, prepare: PrepareLinear
) -> Layer:
    inner = f"layers.{index}."
    parameters = {p.name.removeprefix(inner): p for p in layer_parameters(spec, names, index)}

    def linear(name: str) -> Linear:
        bias = parameters.get(f"{name}.bias")
        return prepare(read(parameters[f"{name}.weight"]), None if bias is None else read(bias))

    norms = {name: read(p) for name, p in parameters.items() if "norm" in name}
    return Layer(
        attention_norm=_build_norm(spec, norms, "attention_norm", read),
        qkv=linear("qkv"),
        o=linear("o"),
        mlp_norm=_build_norm(spec, norms, "mlp_norm", read),
        mlp_in=linear("mlp_in"),
        mlp_out=linear("mlp_out"),
    )


def _build_norm(spec: DecoderSpec, weights: Mapping[str, torch.Tensor], name: str, read: WeightReader) -> Norm:
    weight = weights.get(f"{name}.weight")
    if weight is None:
        weight = torch.ones(spec.hidden_size, dtype=read.dtype, device=read.device)
    if spec.norm == "rms":
        return RmsNorm(weight, spec.norm_eps)
    bias = weights.get(f"{name}.bias")
    return LayerNorm(weight, torch.zeros_like(weight) if bias is None else bias, spec.norm_eps)
