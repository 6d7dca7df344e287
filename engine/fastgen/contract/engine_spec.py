"""How each replica computes: `spec.engine`, and the promise it makes: `spec.sla`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fastgen.config import AttentionName, CompositionName, DtypeName, QueuePolicyName
from fastgen.contract.base import ManifestObject, Rule
from fastgen.contract.quantities import ByteQuantity, Fraction, TokenBudgetValue

MAX_TENSOR_PARALLEL = 1
"""Devices one replica may span. Larger models wait for tensor parallelism; promising it here would only
move the error from `kubectl apply` into a crashing pod."""

PositiveInt = Annotated[int, Field(ge=1, le=2**31 - 1)]


class EngineSpec(ManifestObject):
    """The engine of each replica. Everything has a default that measures or asks the model."""

    tensor_parallel: int = Field(default=1, ge=1, le=MAX_TENSOR_PARALLEL)
    """Devices one replica spans."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model runs. auto takes a GPU where the replica is given one."""

    dtype: DtypeName = "auto"
    """Weights and activations: auto, float32, bfloat16 or float16. auto is what the machine is fastest at among
    those the checkpoint allows without loss of range."""

    max_model_tokens: int | None = Field(default=None, ge=2, le=2**31 - 1)
    """Longest prompt plus answer. Without it, the model's own context length."""

    token_budget: TokenBudgetValue = "auto"  # noqa: S105 - no password
    """Tokens per step, the target Dynamic SplitFuse fills exactly while prompts wait. auto measures the machine."""

    max_sequences: PositiveInt = 256
    """Sequences that may run at once in one replica."""

    max_queued_requests: PositiveInt = 1024
    """Requests that may wait in one replica; one more is answered 503 with Retry-After."""

    composition: CompositionName = "splitfuse"
    """How a step is filled: splitfuse, or the two it is compared with, prefill-first and whole-prompt."""

    queue_policy: QueuePolicyName = "fcfs"
    """Who goes first: fcfs (arrival) or priority (lower number first, then arrival)."""

    block_tokens: int = Field(default=16, ge=1, le=4096)
    """Tokens per KV block. attention: flash_attn needs a multiple of 256."""

    kv_bytes: ByteQuantity | None = None
    """Memory for the KV cache of one replica, such as 4Gi. Without it, what the device has free."""

    memory_fraction: Fraction = "0.9"
    """Share of the device's memory that weights, activations and KV cache together may take."""

    prefix_cache: bool = True
    """Reuse the KV blocks of prompts that begin alike."""

    attention: AttentionName = "auto"
    """Attention backend: auto (the fastest the device can run), reference, cpu, triton or flash_attn."""

    linear: Literal["auto", "plain"] = "auto"
    """Linear layers: auto measures several ways to multiply at start and keeps the fastest; plain never does."""

    RULES = (
        Rule(
            "blockTokens",
            "a multiple of 256 with attention: flash_attn",
            "self.attention != 'flash_attn' || self.blockTokens % 256 == 0",
            lambda self: self.attention != "flash_attn" or self.block_tokens % 256 == 0,
        ),
        Rule(
            "memoryFraction",
            'a decimal from 0.05 to 1, such as "0.9"',
            "double(self.memoryFraction) >= 0.05",
            lambda self: float(self.memory_fraction) >= 0.05,
        ),
    )


class SlaSpec(ManifestObject):
    """The latency promise. A request that keeps both rates is *effective*; the autoscaler holds the share of
    effective requests at `target`."""

    prompt_tokens_per_second: PositiveInt = 512
    """The first token comes within prompt tokens / this many seconds."""

    generation_tokens_per_second: PositiveInt = 4
    """Then tokens come at least this fast, as a moving average over 16 of them, at every token."""

    target: Fraction = "0.99"
    """The share of requests that should be effective, as text."""
