"""What a decoder-only model is made of (`DecoderSpec`) and where its weights lie in a checkpoint (`TensorNames`).

One decoder (fastgen/models/decoder.py) runs every family; a family is the mapping of its config.json to these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from fastgen.models.rope import RopeSpec


class LearnedPositions(NamedTuple):
    """A trained vector per position, as in OPT."""

    num_positions: int
    offset: int
    """Position p uses row p + offset."""


@dataclass(frozen=True, kw_only=True)
class DecoderSpec:
    """Everything the generic decoder must know; nothing here depends on machine or dtype.

    embed -> [project_in] -> layers x { norm, attention, +, norm, MLP, + } -> [norm] -> [project_out] -> head
    """

    architecture: str
    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    context_tokens: int
    """Longest sequence the model is made for, rope scaling included."""

    positions: RopeSpec | LearnedPositions
    activation: str
    """A name in fastgen_kernels.activations."""
    gated_mlp: bool
    """down(act(gate x) * up x) where true, down(act(up x)) otherwise."""

    norm: Literal["rms", "layer"]
    norm_eps: float
    norm_has_weight: bool = True
    norm_before: bool = True
    """Norm each block's input (everyone), or the sum after it (OPT-350m)."""
    final_norm: bool = True

    attention_bias: bool = False
    """Biases of q, k, v and o."""
    mlp_bias: bool = False
    window_tokens: int | None = None
    """Sliding window: a query sees itself and the window_tokens - 1 tokens before it."""

    embedding_size: int
    """Width of the embedding and of the head's input; projected in and out where it is not hidden_size."""
    tied_embeddings: bool

    @property
    def qkv_rows(self) -> int:
        return (self.num_heads + 2 * self.num_kv_heads) * self.head_dim

    @property
    def has_projections(self) -> bool:
        return self.embedding_size != self.hidden_size


@dataclass(frozen=True, kw_only=True)
class TensorNames:
    """Names in the checkpoint. Those of a layer are relative to `layer`, formatted with its index;
    a linear or norm is named without `.weight` and `.bias`."""

    embedding: str
    positions: str | None = None
    project_in: str | None = None
    project_out: str | None = None
    layer: str
    q: str
    k: str
    v: str
    o: str
    gate: str | None = None
    up: str
    down: str
    attention_norm: str
    mlp_norm: str
    final_norm: str
    head: str = "lm_head"
    strip_prefixes: tuple[str, ...] = ()
    """Prefixes that some checkpoints leave out: each name is also found without them."""
    ignored: tuple[str, ...] = ()
    """Regular expressions of tensors that are known to be harmless extras."""


class Part(NamedTuple):
    """One checkpoint tensor that becomes rows of a parameter."""

    name: str
    shape: tuple[int, ...]


class Parameter(NamedTuple):
    """One tensor of the decoder: its parts stacked along dimension 0."""

    name: str
    """In the decoder: `embedding`, `head`, `layers.3.qkv.weight`, ..."""
    parts: tuple[Part, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return (sum(part.shape[0] for part in self.parts), *self.parts[0].shape[1:])


def global_parameters(spec: DecoderSpec, names: TensorNames) -> tuple[Parameter, ...]:
    """Every parameter outside the layers. A tied head is not one: it is the embedding."""
    wide = (spec.vocab_size, spec.embedding_size)
    found = [_single("embedding", f"{names.embedding}.weight", wide)]
    if isinstance(spec.positions, LearnedPositions):
        rows = spec.positions.num_positions + spec.positions.offset
        found.append(_single("positions", f"{names.positions}.weight", (rows, spec.hidden_size)))
    if spec.has_projections:
        found.append(_single("project_in", f"{names.project_in}.weight", (spec.hidden_size, spec.embedding_size)))
        found.append(_single("project_out", f"{names.project_out}.weight", (spec.embedding_size, spec.hidden_size)))
    if spec.final_norm:
        found += _norm(spec, "final_norm", names.final_norm)
    if not spec.tied_embeddings:
        found.append(_single("head", f"{names.head}.weight", wide))
    return tuple(found)


def layer_parameters(spec: DecoderSpec, names: TensorNames, layer: int) -> tuple[Parameter, ...]:
    """Every parameter of one layer, projections of one input fused: q, k, v; gate, up."""
    inner = f"layers.{layer}."
    outer = names.layer.format(layer)
    heads, kv = spec.num_heads * spec.head_dim, spec.num_kv_heads * spec.head_dim
    wide, hidden = spec.intermediate_size, spec.hidden_size
    mlp_in = [(names.gate, wide)] if spec.gated_mlp and names.gate else []
    linears = [
        ("qkv", [(names.q, heads), (names.k, kv), (names.v, kv)], hidden, spec.attention_bias),
        ("o", [(names.o, hidden)], heads, spec.attention_bias),
        ("mlp_in", [*mlp_in, (names.up, wide)], hidden, spec.mlp_bias),
        ("mlp_out", [(names.down, hidden)], wide, spec.mlp_bias),
    ]
    found: list[Parameter] = []
    for name, sources, columns, has_bias in linears:
        weights = tuple(Part(f"{outer}{source}.weight", (rows, columns)) for source, rows in sources)
        found.append(Parameter(f"{inner}{name}.weight", weights))
        if has_bias:
            biases = tuple(Part(f"{outer}{source}.bias", (rows,)) for source, rows in sources)
            found.append(Parameter(f"{inner}{name}.bias", biases))
    found += _norm(spec, f"{inner}attention_norm", outer + names.attention_norm)
    found += _norm(spec, f"{inner}mlp_norm", outer + names.mlp_norm)
    return tuple(found)


def _norm(spec: DecoderSpec, name: str, source: str) -> list[Parameter]:
    if not spec.norm_has_weight:
        return []
    kinds = ("weight", "bias") if spec.norm == "layer" else ("weight",)
    return [_single(f"{name}.{kind}", f"{source}.{kind}", (spec.hidden_size,)) for kind in kinds]


def _single(name: str, source: str, shape: tuple[int, ...]) -> Parameter:
    return Parameter(name, (Part(source, shape),))
