"""What an engine says of itself, for tests that have no engine."""

from __future__ import annotations

from fastgen.config import EngineInfo
from fastgen.core.events import StepStats

STATS = StepStats(1, 2, 3, 4, 5, 6, 7, 8, 0.5, 9, 10, 11)
INFO = EngineInfo(
    model="m",
    architecture="LlamaForCausalLM",
    device="cpu",
    dtype="float32",
    attention="cpu",
    composition="splitfuse",
    queue_policy="fcfs",
    token_budget=64,
    token_budget_reason="set by hand",
    max_sequences=8,
    max_model_tokens=128,
    block_tokens=16,
    num_blocks=32,
    kv_bytes=1,
    weight_bytes=2,
    vocab_size=512,
    capacity_tokens_per_second=0.5,
)
