"""How an engine is configured. Each field's docstring is also its `--help` and its documentation.

`EngineConfig` holds what a person chose; nothing here is measured. What "auto" became is decided once
when the engine starts (fastgen/runtime) and reported in `EngineInfo`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fastgen.errors import UsageError

DtypeName = Literal["auto", "float32", "bfloat16", "float16"]
CompositionName = Literal["splitfuse", "prefill-first", "whole-prompt"]
QueuePolicyName = Literal["fcfs", "priority"]
AttentionName = Literal["auto", "reference", "cpu", "triton", "flash_attn"]


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """One engine: one model on one device."""

    model: str
    """A folder in Hugging Face format, or a hub id such as meta-llama/Llama-2-7b-chat-hf."""

    revision: str | None = None
    """The branch, tag or commit of a hub id."""

    device: str = "auto"
    """Where the model runs: auto (CUDA where there is one), cpu, cuda or cuda:N."""

    dtype: DtypeName = "auto"
    """Weights and activations. auto is what this machine is fastest at among those the checkpoint
    allows without loss of range: measured once, said in the log."""

    token_budget: int | None = None
    """Tokens per step, the target Dynamic SplitFuse fills. none measures this machine at start: the knee of
    throughput against tokens, capped by the inter-token promise. (prefill-first and whole-prompt default to
    the context length instead, as the systems they stand for did.)"""

    max_sequences: int = 256
    """Sequences that may run at once."""

    max_model_tokens: int | None = None
    """Longest prompt plus answer. none takes the model's own context length."""

    max_queued_requests: int = 1024
    """Requests that may wait; one more is refused with 503 and Retry-After."""

    composition: CompositionName = "splitfuse"
    """How a step is filled: splitfuse, or the two it is compared with: prefill-first (prompt passes
    preempt decodes, as vLLM did at the paper's time) and whole-prompt (prompts are never cut, as in Orca)."""

    queue_policy: QueuePolicyName = "fcfs"
    """Who goes first: fcfs (arrival) or priority (lower number first, then arrival)."""

    block_tokens: int = 16
    """Tokens per KV block. flash_attn demands a multiple of 256."""

    kv_bytes: int | None = None
    """Bytes for the KV cache. none takes what is free (see memory_fraction)."""

    memory_fraction: float = 0.9
    """Share of the device's memory that weights, activations and KV together may take."""

    prefix_cache: bool = True
    """Reuse the KV blocks of prompts that begin alike."""

    attention: AttentionName = "auto"
    """Attention backend. auto is the fastest that this device can run."""

    linear: Literal["auto", "plain"] = "auto"
    """Linear layers. auto measures several ways to multiply at start and keeps the fastest; plain never does."""

    promise_tokens_per_second: float = 4.0
    """The generation rate promised to each request; caps the measured token budget so that one step
    never takes longer than 1/rate seconds."""

    load_progress: bool = True
    """Show a progress bar while weights load."""

    def __post_init__(self) -> None:
        _at_least("token_budget", self.token_budget, 1)
        _at_least("max_sequences", self.max_sequences, 1)
        _at_least("max_model_tokens", self.max_model_tokens, 2)
        _at_least("max_queued_requests", self.max_queued_requests, 1)
        _at_least("block_tokens", self.block_tokens, 1)
        _at_least("kv_bytes", self.kv_bytes, 1)
        if not 0.05 <= self.memory_fraction <= 1.0:
            raise UsageError(f"memory_fraction={self.memory_fraction} is outside 0.05 to 1.0")
        if not self.promise_tokens_per_second > 0:
            raise UsageError(f"promise_tokens_per_second={self.promise_tokens_per_second} must be above 0")
        if self.attention == "flash_attn" and self.block_tokens % 256:
            raise UsageError(
                f"block_tokens={self.block_tokens} does not work with attention=flash_attn, whose kernels need "
                "a multiple of 256; set block_tokens=256 or choose attention=triton"
            )


@dataclass(frozen=True, kw_only=True)
class EngineInfo:
    """What an engine turned out to be once it had started: every "auto" resolved and every size known."""

    model: str
    architecture: str
    device: str
    dtype: str
    attention: str
    composition: str
    queue_policy: str
    token_budget: int
    token_budget_reason: str
    max_sequences: int
    max_model_tokens: int
    block_tokens: int
    num_blocks: int
    kv_bytes: int
    weight_bytes: int
    vocab_size: int
    capacity_tokens_per_second: float
    """Tokens per second of a full step, as measured at start; 0.0 where the budget was set by hand."""

    @property
    def kv_capacity_tokens(self) -> int:
        return self.num_blocks * self.block_tokens


def _at_least(name: str, value: int | None, low: int) -> None:
    if value is not None and value < low:
        raise UsageError(f"{name}={value} is too small; the least is {low}")
