"""How many KV blocks there is room for.

    a block = block_tokens x layers x (key + value) x kv_heads x head_dim x bytes of the dtype

On a GPU the cache takes what is left of its share. On a CPU, where replicas and everything else share the
memory, it takes no more than its sequences can use, nor than `CPU_KV_BYTES`; pages that are never written cost nothing.
"""

from __future__ import annotations

import logging
import mmap
from pathlib import Path
from typing import NamedTuple

import torch

from fastgen.config import EngineConfig
from fastgen.errors import ModelError, UsageError
from fastgen.models.spec import DecoderSpec
from fastgen_kernels.attention.base import LayerCache

log = logging.getLogger(__name__)

CPU_KV_BYTES = 4 * 2**30
"""Most a CPU engine takes for KV unless kv_bytes says otherwise."""

_GIB = 2**30
_UNLIMITED = 1 << 60


class KvPlan(NamedTuple):
    """The cache's size, settled."""

    num_blocks: int
    block_bytes: int
    max_model_tokens: int
    reason: str

    @property
    def kv_bytes(self) -> int:
        return self.num_blocks * self.block_bytes


def block_bytes(spec: DecoderSpec, block_tokens: int, dtype: torch.dtype) -> int:
    """Bytes of one block over all layers, keys and values."""
    return 2 * spec.num_layers * block_tokens * spec.num_kv_heads * spec.head_dim * dtype.itemsize


def longest_sequence(config: EngineConfig, spec: DecoderSpec) -> int:
    """max_model_tokens as asked for, or the model's own. Raises UsageError where more is asked than it has."""
    if config.max_model_tokens is None:
        return spec.context_tokens
    if config.max_model_tokens > spec.context_tokens:
        raise UsageError(
            f"max_model_tokens={config.max_model_tokens} exceeds this model's context of {spec.context_tokens} tokens; "
            "lower it or leave it out"
        )
    return config.max_model_tokens


def plan_kv(config: EngineConfig, spec: DecoderSpec, dtype: torch.dtype, free_bytes: int, device_type: str) -> KvPlan:
    """How many blocks to allocate. `free_bytes`: what KV may take of the device, by `free_for_kv`.

    Too little for one sequence of max_model_tokens shortens sequences where that length was left to us, and
    raises UsageError or ModelError with the numbers where it was asked for.
    """
    each = block_bytes(spec, config.block_tokens, dtype)
    max_tokens = longest_sequence(config, spec)
    blocks_per_sequence = -(-max_tokens // config.block_tokens)
    if config.kv_bytes is not None:
        num_blocks, reason = config.kv_bytes // each, f"kv_bytes={config.kv_bytes}"
    else:
        num_blocks, reason = _blocks_that_fit(config, free_bytes, each, blocks_per_sequence, device_type)
    if num_blocks >= blocks_per_sequence:
        return KvPlan(num_blocks, each, max_tokens, reason)
    numbers = (
        f"{num_blocks} KV blocks of {config.block_tokens} tokens ({each} bytes each; {reason}) hold "
        f"{num_blocks * config.block_tokens} tokens, fewer than one sequence of max_model_tokens={max_tokens}"
    )
    if config.max_model_tokens is not None or num_blocks * config.block_tokens < 2:
        needed = f"that takes {blocks_per_sequence * each} bytes"
        if config.kv_bytes is not None:
            raise UsageError(f"{numbers}; {needed}: raise kv_bytes or lower max_model_tokens")
        raise ModelError(f"{numbers}; {needed}: lower max_model_tokens or free memory")
    log.warning("%s; max_model_tokens is therefore %d", numbers, num_blocks * config.block_tokens)
    return KvPlan(num_blocks, each, num_blocks * config.block_tokens, reason)


def _blocks_that_fit(
    config: EngineConfig, free_bytes: int, each: int, blocks_per_sequence: int, device_type: str
) -> tuple[int, str]:
    useful = config.max_sequences * blocks_per_sequence
    limits = [(free_bytes // each, f"{free_bytes / _GIB:.2f} GiB free within memory_fraction={config.memory_fraction}")]
    limits.append((useful, f"all that max_sequences={config.max_sequences} can use"))
    if device_type == "cpu":
        limits.append(
            (max(CPU_KV_BYTES // each, 0), f"{CPU_KV_BYTES // _GIB} GiB, a CPU's default; kv_bytes takes more")
        )
    return min(limits)


def free_for_kv(config: EngineConfig, spec: DecoderSpec, dtype: torch.dtype, device: torch.device) -> int:
    """Bytes KV may take now that the weights are in place."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        reusable = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        allowed = total * config.memory_fraction - (total - free - reusable)
        return max(0, int(allowed) - activation_bytes(config, spec, dtype))
    return int(available_bytes() * config.memory_fraction)


def activation_bytes(config: EngineConfig, spec: DecoderSpec, dtype: torch.dtype) -> int:
    """A generous estimate of what one step holds besides weights and KV: the widest layer's tensors, and logits
    with the sampler's float copies."""
    tokens = config.token_budget or 4096
    widths = 4 * spec.hidden_size + 2 * spec.qkv_rows + 3 * spec.intermediate_size
    rows = min(config.max_sequences, tokens)
    return 2 * tokens * widths * dtype.itemsize + rows * spec.vocab_size * (dtype.itemsize + 4 * 8)


def available_bytes(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Memory this process may still take: the machine's, or less where a cgroup (v1 or v2) limits it."""
    available = _UNLIMITED
    for line in _read(proc / "meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            available = int(line.split()[1]) * 1024
    return min([available, *_cgroup_headrooms(proc, cgroups)])


def _cgroup_headrooms(proc: Path, cgroups: Path) -> list[int]:
    """Limit minus use, for this process's memory cgroup and each one above it, however it is mounted.

    /proc/self/cgroup has lines `0::/path` (v2) and `4:memory:/path` (v1); inside a container the path may be
    relative to a root we do not see, so the mount's own top counts too.
    """
    headrooms = []
    for line in _read(proc / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top = cgroups / "memory" if controllers else cgroups
        limit_file, use_file = (
            ("memory.limit_in_bytes", "memory.usage_in_bytes") if controllers else ("memory.max", "memory.current")
        )
        inner = top / path.lstrip("/")
        folders = [inner, *(parent for parent in inner.parents if parent.is_relative_to(top)), top]
        for folder in dict.fromkeys(folders):
            limit, used = _read(folder / limit_file).strip(), _read(folder / use_file).strip()
            if limit.isdigit() and used.isdigit() and int(limit) < _UNLIMITED:
                headrooms.append(max(0, int(limit) - int(used) + _reclaimable(folder)))
    return headrooms


def _reclaimable(folder: Path) -> int:
    """File pages count as used but are given back on demand: the just-read weight files above all."""
    for line in _read(folder / "memory.stat").splitlines():
        name, _, value = line.partition(" ")
        if name in ("inactive_file", "total_inactive_file"):
            return int(value)
    return 0


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def allocate_kv(
    spec: DecoderSpec,
    plan: KvPlan,
    block_tokens: int,
    dtype: torch.dtype,
    device: torch.device,
    memory_order: tuple[int, int, int, int] = (0, 1, 2, 3),
) -> list[LayerCache]:
    """One cache per layer, zeroed, its dimensions lying in memory in the attention backend's `memory_order`.

    On a CPU the pages are anonymous memory, taken when first written.
    """
    shape = (plan.num_blocks, block_tokens, spec.num_kv_heads, spec.head_dim)
    lying = tuple(shape[dimension] for dimension in memory_order)
    back = tuple(memory_order.index(dimension) for dimension in range(4))
    return [LayerCache(*(_zeros(lying, dtype, device).permute(back) for _ in range(2))) for _ in range(spec.num_layers)]


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    numel = 1
    for size in shape:
        numel *= size
    # torch.zeros would touch every page at once; the tensor keeps the mapping alive.
    pages = mmap.mmap(-1, numel * dtype.itemsize)
    return torch.frombuffer(pages, dtype=dtype).view(shape)
