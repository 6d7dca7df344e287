"""KV sizes add up, respect every limit, and too little is said with numbers."""

from __future__ import annotations

import dataclasses
import logging
import resource
from pathlib import Path
from typing import Any

import pytest
import torch

from fastgen.config import EngineConfig
from fastgen.errors import ModelError, UsageError
from fastgen.models.registry import read_spec
from fastgen.models.spec import DecoderSpec
from fastgen.runtime.memory import allocate_kv, available_bytes, block_bytes, plan_kv

GIB = 2**30


@pytest.fixture
def spec(tiny_llama: Path) -> DecoderSpec:
    return read_spec(tiny_llama)[0]


def config(**values: Any) -> EngineConfig:
    return EngineConfig(model="unused", **values)


def test_a_block_is_what_its_tensors_take(spec: DecoderSpec) -> None:
    kv = plan_kv(config(block_tokens=8), spec, torch.bfloat16, GIB, "cpu")
    caches = allocate_kv(spec, kv, 8, torch.bfloat16, torch.device("cpu"))
    assert kv.kv_bytes == sum(cache.keys.nbytes + cache.values.nbytes for cache in caches)
    assert caches[0].keys.shape == (kv.num_blocks, 8, 2, 16)
    assert not caches[-1].values.any()


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (2, 0, 1, 3), (0, 2, 1, 3)])
def test_a_cache_lies_as_its_reader_wants(spec: DecoderSpec, order: tuple[int, int, int, int]) -> None:
    kv = plan_kv(config(kv_bytes=5 * 16384, max_model_tokens=32), spec, torch.float32, GIB, "cpu")
    keys, _ = allocate_kv(spec, kv, 16, torch.float32, torch.device("cpu"), order)[0]
    assert keys.shape == (kv.num_blocks, 16, 2, 16)
    assert keys.permute(order).is_contiguous()


def test_kv_bytes_is_kept_exactly(spec: DecoderSpec) -> None:
    each = block_bytes(spec, 16, torch.float32)
    assert each == 2 * 2 * 16 * 2 * 16 * 4
    kv = plan_kv(config(kv_bytes=1000 * each + 5), spec, torch.float32, 0, "cpu")
    assert kv.num_blocks == 1000


def test_a_cpu_takes_no_more_than_its_sequences_can_use_nor_than_its_default(spec: DecoderSpec) -> None:
    few = plan_kv(config(max_sequences=3, max_model_tokens=100), spec, torch.float32, 64 * GIB, "cpu")
    assert few.num_blocks == 3 * 7
    assert "all that max_sequences=3 can use" in few.reason
    wide = dataclasses.replace(spec, num_kv_heads=64, head_dim=128, num_layers=32)
    most = plan_kv(config(), wide, torch.float32, 64 * GIB, "cpu")
    assert 4 * GIB - most.block_bytes < most.kv_bytes <= 4 * GIB
    assert "a CPU's default; kv_bytes takes more" in most.reason
    assert plan_kv(config(), wide, torch.float32, 64 * GIB, "cuda").kv_bytes > 60 * GIB


def test_too_little_for_one_sequence(spec: DecoderSpec, caplog: pytest.LogCaptureFixture) -> None:
    each = block_bytes(spec, 16, torch.float32)
    with pytest.raises(UsageError, match=r"3 KV blocks of 16 tokens .* hold 48 tokens, fewer .*max_model_tokens=100"):
        plan_kv(config(kv_bytes=3 * each, max_model_tokens=100), spec, torch.float32, GIB, "cpu")
    with pytest.raises(ModelError, match=f"that takes {7 * each} bytes: lower max_model_tokens or free memory"):
        plan_kv(config(max_model_tokens=100), spec, torch.float32, 3 * each, "cpu")
    with caplog.at_level(logging.WARNING):
        assert plan_kv(config(kv_bytes=3 * each), spec, torch.float32, GIB, "cpu").max_model_tokens == 48
    assert "max_model_tokens is therefore 48" in caplog.text
    with pytest.raises(UsageError, match="0 KV blocks"):
        plan_kv(config(kv_bytes=1), spec, torch.float32, GIB, "cpu")


def test_more_context_than_the_model_has_is_refused(spec: DecoderSpec) -> None:
    with pytest.raises(UsageError, match="max_model_tokens=4000 exceeds this model's context of 2048 tokens"):
        plan_kv(config(max_model_tokens=4000), spec, torch.float32, GIB, "cpu")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_available_memory_respects_cgroups(tmp_path: Path) -> None:
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    write(proc / "meminfo", "MemTotal: 99 kB\nMemAvailable:   16777216 kB\n")
    assert available_bytes(proc, cgroups) == 16 * GIB

    write(proc / "self" / "cgroup", "0::/pod/container\n")
    write(cgroups / "pod" / "container" / "memory.max", "max\n")
    write(cgroups / "pod" / "container" / "memory.current", f"{GIB}\n")
    write(cgroups / "pod" / "memory.max", f"{6 * GIB}\n")
    write(cgroups / "pod" / "memory.current", f"{2 * GIB}\n")
    assert available_bytes(proc, cgroups) == 4 * GIB
    write(cgroups / "pod" / "memory.stat", f"anon 5\ninactive_file {GIB}\n")
    assert available_bytes(proc, cgroups) == 5 * GIB

    write(proc / "self" / "cgroup", "5:cpu:/\n4:memory:/elsewhere\n0::/\n")
    write(cgroups / "memory" / "memory.limit_in_bytes", f"{3 * GIB}")
    write(cgroups / "memory" / "memory.usage_in_bytes", f"{GIB}")
    assert available_bytes(proc, cgroups) == 2 * GIB
    write(cgroups / "memory" / "memory.limit_in_bytes", "9223372036854771712")
    assert available_bytes(proc, cgroups) == 16 * GIB


def test_this_machine_has_memory() -> None:
    assert 0 < available_bytes() < 1 << 50


def test_a_large_cache_costs_nothing_until_it_is_written(spec: DecoderSpec) -> None:
    wide = dataclasses.replace(spec, num_kv_heads=64, head_dim=128)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    kv = plan_kv(config(kv_bytes=2 * GIB), wide, torch.float32, 0, "cpu")
    caches = allocate_kv(wide, kv, 16, torch.float32, torch.device("cpu"))
    caches[0].keys[-1] = 1.0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024
