"""Rotary position embeddings and the ways they are stretched beyond the context they were trained for.

    angle(p, i) = p * frequency(i)        frequency(i) = theta^(-2 i / D), changed by the scaling

Su et al. 2021 (https://arxiv.org/abs/2104.09864). Formulas and float32 order follow transformers, so that logits agree.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch

from fastgen.models.config_file import ConfigFile

RopeKind = Literal["default", "linear", "dynamic", "llama3", "yarn"]
KINDS: tuple[RopeKind, ...] = ("default", "linear", "dynamic", "llama3", "yarn")


@dataclass(frozen=True, kw_only=True)
class RopeSpec:
    """Which rope, with every parameter resolved."""

    kind: RopeKind = "default"
    dim: int
    """Dimensions of a head; all of them turn."""
    theta: float = 10000.0
    factor: float = 1.0
    trained_tokens: int
    """Context before stretching: `original_max_position_embeddings`, else `max_position_embeddings`."""
    low_frequency_factor: float = 1.0
    high_frequency_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True
    attention_factor: float = 1.0
    """Multiplies cosines and sines (yarn)."""

    @property
    def depends_on_prompt(self) -> bool:
        """True where a token's angle depends on the length of its prompt, not on its position alone:
        then keys computed for one prompt are wrong for another, however alike they begin."""
        return self.kind == "dynamic"


def read_rope(config: ConfigFile, head_dim: int, position_tokens: int) -> tuple[RopeSpec, int]:
    """The rope of a config.json, old style (rope_theta, rope_scaling) or new (rope_parameters), and the context
    it allows. `position_tokens` is the config's max_position_embeddings.

    Raises ModelError naming the key, its value and what is supported.
    """
    section = config.section("rope_parameters") or config.section("rope_scaling")
    theta = config.number("rope_theta", 10000.0)
    config.only("partial_rotary_factor", 1.0)
    if section is None:
        return RopeSpec(dim=head_dim, theta=theta, trained_tokens=position_tokens), position_tokens
    theta = section.number("rope_theta", theta)
    section.only("partial_rotary_factor", 1.0)
    type_key = "rope_type" if section.peek("rope_type") is not None else "type"
    kind = section.choice(type_key, KINDS, "default")
    section.choice("type", KINDS, kind)
    spec, context_tokens = _read_kind(kind, section, head_dim, theta, position_tokens)
    section.finish()
    return spec, context_tokens


def _read_kind(
    kind: str, section: ConfigFile, head_dim: int, theta: float, position_tokens: int
) -> tuple[RopeSpec, int]:
    if kind == "default":
        section.optional_number("factor")
        section.optional_integer("original_max_position_embeddings")
        return RopeSpec(dim=head_dim, theta=theta, trained_tokens=position_tokens), position_tokens
    factor = section.number("factor")
    if factor < 1.0:
        raise section.unsupported("factor", factor, "a number of at least 1")
    if kind == "linear":
        spec = RopeSpec(kind="linear", dim=head_dim, theta=theta, factor=factor, trained_tokens=position_tokens)
        return spec, int(position_tokens * factor)
    if kind == "dynamic":
        section.optional_integer("original_max_position_embeddings")
        spec = RopeSpec(kind="dynamic", dim=head_dim, theta=theta, factor=factor, trained_tokens=position_tokens)
        return spec, int(position_tokens * factor)
    trained_tokens = section.optional_integer("original_max_position_embeddings") or position_tokens
    if kind == "llama3":
        spec = RopeSpec(
            kind="llama3",
            dim=head_dim,
            theta=theta,
            factor=factor,
            trained_tokens=trained_tokens,
            low_frequency_factor=section.number("low_freq_factor"),
            high_frequency_factor=section.number("high_freq_factor"),
        )
        return spec, position_tokens
    spec = RopeSpec(
        kind="yarn",
        dim=head_dim,
        theta=theta,
        factor=factor,
        trained_tokens=trained_tokens,
        beta_fast=section.number("beta_fast", 32.0),
        beta_slow=section.number("beta_slow", 1.0),
        truncate=section.flag("truncate", True),
        attention_factor=_yarn_attention_factor(section, factor),
    )
    return spec, max(position_tokens, int(trained_tokens * factor))


def _yarn_attention_factor(section: ConfigFile, factor: float) -> float:
    """The temperature of YaRN, section 3.4 (https://arxiv.org/abs/2309.00071), with DeepSeek's mscale."""

    def scale(mscale: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * mscale * math.log(factor) + 1.0

    given = section.optional_number("attention_factor")
    mscale = section.optional_number("mscale")
    mscale_all_dim = section.optional_number("mscale_all_dim")
    if given is not None:
        return given
    if mscale and mscale_all_dim:
        return scale(mscale) / scale(mscale_all_dim)
    return scale(1.0)


class Rope:
    """Cosines and sines for the tokens of a step, computed once per step and shared by all layers."""

    def __init__(self, spec: RopeSpec, device: torch.device) -> None:
        self.spec = spec
        self._exponents = (torch.arange(0, spec.dim, 2, dtype=torch.int64).float() / spec.dim).to(device)
        self._frequencies = inverse_frequencies(spec).to(device)

    def angles(
        self, positions: torch.Tensor, prompt_lens: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """cos and sin, both [T, D / 2] float32, for `positions` [T] int64.

        `prompt_lens` [T] int64, the length of each token's prompt, is needed where `spec.depends_on_prompt`.
        """
        frequencies = self._frequencies
        if self.spec.depends_on_prompt and prompt_lens is not None:
            frequencies = self._dynamic_frequencies(positions, prompt_lens)
        angles = positions[:, None].float() * frequencies
        cos, sin = angles.cos(), angles.sin_()
        if self.spec.attention_factor != 1.0:
            cos.mul_(self.spec.attention_factor)
            sin.mul_(self.spec.attention_factor)
        return cos, sin

    def _dynamic_frequencies(self, positions: torch.Tensor, prompt_lens: torch.Tensor) -> torch.Tensor:
        """[T, D / 2]. transformers' generate turns a whole prompt by the prompt's length, and each later
        token by the length it has reached: its base grows with what it has seen."""
        spec = self.spec
        lengths = torch.maximum(positions + 1, prompt_lens).clamp_(min=spec.trained_tokens)
        stretch = (spec.factor * lengths / spec.trained_tokens) - (spec.factor - 1)
        base = spec.theta * stretch ** (spec.dim / (spec.dim - 2))
        return 1.0 / (base[:, None] ** self._exponents)


def inverse_frequencies(spec: RopeSpec) -> torch.Tensor:
    """[D / 2] float32, on the CPU: radians per position. For `dynamic`, those within the trained context."""
    plain = 1.0 / (spec.theta ** (torch.arange(0, spec.dim, 2, dtype=torch.int64).float() / spec.dim))
    if spec.kind == "linear":
        return plain / spec.factor
    if spec.kind == "llama3":
        return _llama3(spec, plain)
    if spec.kind == "yarn":
        return _yarn(spec)
    return plain


def _llama3(spec: RopeSpec, plain: torch.Tensor) -> torch.Tensor:
    """Llama 3.1: long wavelengths are stretched, short ones kept, those between blended."""
    low_wavelength = spec.trained_tokens / spec.low_frequency_factor
    high_wavelength = spec.trained_tokens / spec.high_frequency_factor
    wavelength = 2 * math.pi / plain
    stretched = torch.where(wavelength > low_wavelength, plain / spec.factor, plain)
    blend = (spec.trained_tokens / wavelength - spec.low_frequency_factor) / (
        spec.high_frequency_factor - spec.low_frequency_factor
    )
    blended = (1 - blend) * stretched / spec.factor + blend * stretched
    between = ~(wavelength < high_wavelength) & ~(wavelength > low_wavelength)
    return torch.where(between, blended, stretched)


def _yarn(spec: RopeSpec) -> torch.Tensor:
    """YaRN, section 3.2: a ramp between stretching (slow dimensions) and keeping (fast ones)."""

    def dimension(rotations: float) -> float:
        ratio = spec.trained_tokens / (rotations * 2 * math.pi)
        return (spec.dim * math.log(ratio)) / (2 * math.log(spec.theta))

    low, high = dimension(spec.beta_fast), dimension(spec.beta_slow)
    if spec.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, spec.dim - 1)
    if low == high:
        high += 0.001  # the ramp would have no width
    powers = spec.theta ** (torch.arange(0, spec.dim, 2).float() / spec.dim)
    ramp = ((torch.arange(spec.dim // 2, dtype=torch.float32) - low) / (high - low)).clamp(0, 1)
    keep = 1 - ramp
    return (1.0 / (spec.factor * powers)) * (1 - keep) + (1.0 / powers) * keep
