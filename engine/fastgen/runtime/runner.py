"""The runner owns a model on a device: it carries out one StepPlan at a time and returns what was sampled.

load:     folder -> dtype -> weights -> KV blocks          every "auto" is decided here, once, and logged
execute:  plan -> batch -> decoder -> sampler -> StepOutput
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from fastgen.config import EngineConfig
from fastgen.core.plan import StepOutput, StepPlan
from fastgen.core.sequence import RunningSequence
from fastgen.errors import ModelError, OutOfMemoryError, UsageError
from fastgen.models.decoder import Decoder
from fastgen.models.registry import read_spec
from fastgen.models.rope import RopeSpec
from fastgen.models.spec import DecoderSpec
from fastgen.runtime.batches import BatchRow, build_batch, prompt_lens, rows_of
from fastgen.runtime.checkpoint import Checkpoint, match
from fastgen.runtime.dtypes import checkpoint_dtype, resolve_dtype
from fastgen.runtime.hub import resolve_model_folder
from fastgen.runtime.loading import load_decoder
from fastgen.runtime.measurements import measurement_file
from fastgen.runtime.memory import KvPlan, allocate_kv, free_for_kv, longest_sequence, plan_kv
from fastgen.runtime.sampler import Sampler
from fastgen_kernels.attention.base import AttentionBackend, AttentionShape, LayerCache
from fastgen_kernels.attention.registry import AttentionUnavailableError, select_backend
from fastgen_kernels.linear.layer import prepare_linear

log = logging.getLogger(__name__)


class Runner:
    """Build with `Runner.load`."""

    def __init__(
        self,
        *,
        decoder: Decoder,
        caches: Sequence[LayerCache],
        kv: KvPlan,
        block_tokens: int,
        device: torch.device,
        dtype: torch.dtype,
        weight_bytes: int,
        eos_token_ids: tuple[int, ...],
        linear: str,
    ) -> None:
        self.architecture = decoder.spec.architecture
        self.device = device
        self.dtype = dtype
        self.attention_name: str = decoder.attention.name
        self.num_blocks = kv.num_blocks
        self.kv_bytes = kv.kv_bytes
        self.weight_bytes = weight_bytes
        self.vocab_size = decoder.spec.vocab_size
        self.max_model_tokens = kv.max_model_tokens
        self.eos_token_ids = eos_token_ids
        self.block_tokens = block_tokens
        self.linear = linear
        self.decoder = decoder
        self._caches = caches
        self._sampler = Sampler(decoder.spec.vocab_size, device)

    @classmethod
    def load(cls, config: EngineConfig) -> Runner:
        """Load config.model.

        Raises ModelError for what the model lacks, UsageError for what the config asks in vain.
        """
        device = resolve_device(config.device)
        folder = resolve_model_folder(config.model, config.revision)
        spec, names = read_spec(folder)
        longest_sequence(config, spec)
        with Checkpoint.open(folder) as checkpoint, torch.inference_mode():
            actual_names = match(checkpoint, spec, names)
            stored = checkpoint_dtype(checkpoint.tensors[name].dtype for name in actual_names.values())
            dtype, reason = resolve_dtype(config.dtype, stored, spec, device)
            log.info(reason)
            attention = _select_attention(config, spec, device, dtype)
            decoder, weight_bytes = load_decoder(
                checkpoint,
                actual_names,
                spec,
                names,
                dtype=dtype,
                device=device,
                prepare=functools.partial(prepare_linear, mode=config.linear),
                attention=attention,
                show_progress=config.load_progress,
            )
            kv = plan_kv(config, spec, dtype, free_for_kv(config, spec, dtype, device), device.type)
            caches = allocate_kv(spec, kv, config.block_tokens, dtype, device, attention.memory_order)
        log.info(
            "KV cache: %d blocks of %d tokens, %.1f MiB (%s); attention: %s",
            kv.num_blocks,
            config.block_tokens,
            kv.kv_bytes / 2**20,
            kv.reason,
            attention.name,
        )
        return cls(
            decoder=decoder,
            caches=caches,
            kv=kv,
            block_tokens=config.block_tokens,
            device=device,
            dtype=dtype,
            weight_bytes=weight_bytes,
            eos_token_ids=read_eos_token_ids(folder),
            linear=config.linear,
        )

    @property
    def shares_prefixes(self) -> bool:
        """False where keys depend on the whole prompt, so that no other prompt may use them: dynamic rope, for
        sequences longer than the model was trained for."""
        positions = self.decoder.spec.positions
        return not (
            isinstance(positions, RopeSpec)
            and positions.depends_on_prompt
            and self.max_model_tokens > positions.trained_tokens
        )

    def measurement_file(self, kind: str) -> Path:
        """Where a measurement of this model's steps on this machine is kept between starts."""
        facts = (self.decoder.spec, self.dtype, self.attention_name, self.linear, self.block_tokens)
        return measurement_file(kind, self.device, *facts)

    def close(self) -> None:
        """Give weights and cache back; the runner cannot be used afterwards."""
        del self.decoder, self._caches, self._sampler
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def execute(self, plan: StepPlan, sequences: Mapping[int, RunningSequence]) -> StepOutput:
        """Compute the plan's chunks and sample for those that ask for it.

        Raises OutOfMemoryError where the device has no room for the step. Then nothing the scheduler relies on has
        changed: slots are only written at positions not yet computed, and will be written again.
        """
        if not plan.chunks:
            return StepOutput(())
        with _memory_errors(plan.num_tokens), torch.inference_mode():
            logits = self.forward(rows_of(plan, sequences))
            sampling = [sequences[chunk.sequence_id] for chunk in plan.chunks if chunk.samples]
            return StepOutput(tuple(self._sampler.sample(logits, sampling)) if sampling else ())

    def forward_dummy(self, num_tokens: int, num_sequences: int) -> None:
        """Run a prompt-like step of `num_tokens` spread over `num_sequences`, as far as the cache reaches.

        Only for measuring, before any sequence runs: it writes over blocks of the cache.
        """
        with _memory_errors(num_tokens):
            self.forward(self._dummy_rows(num_tokens, num_sequences))
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)

    @torch.inference_mode()
    def forward(self, rows: Sequence[BatchRow]) -> torch.Tensor:
        """Logits [R, vocab] of the rows that sample."""
        batch = build_batch(rows, self.block_tokens, self.device)
        lens = prompt_lens(rows, self.device) if self.decoder.needs_prompt_lens else None
        return self.decoder.forward(batch, self._caches, lens)

    def _dummy_rows(self, num_tokens: int, num_sequences: int) -> list[BatchRow]:
        num_sequences = max(1, min(num_sequences, num_tokens))
        rows = []
        for index in range(num_sequences):
            length = num_tokens // num_sequences + (index < num_tokens % num_sequences)
            length = min(length, self.max_model_tokens)
            needed = -(-length // self.block_tokens)
            blocks = tuple((index * needed + offset) % self.num_blocks for offset in range(needed))
            rows.append(BatchRow([0] * length, 0, blocks, True, length))
        return rows


def resolve_device(name: str) -> torch.device:
    """auto, cpu, cuda or cuda:N. Raises UsageError naming what this machine has."""
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    kind, _, index = name.partition(":")
    if kind != "cuda" or not (index.isdigit() or (not index and name == "cuda")):
        raise UsageError(f"device={name} is not known; choose auto, cpu, cuda or cuda:N")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(index or 0) >= count:
        raise UsageError(f"device={name}: this machine has {count} CUDA devices that torch can use; try device=cpu")
    return torch.device("cuda", int(index or 0))


def read_eos_token_ids(folder: Path) -> tuple[int, ...]:
    """The tokens that end an answer: generation_config.json's, else config.json's, else none."""
    for name in ("generation_config.json", "config.json"):
        path = folder / name
        try:
            found = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id") if path.is_file() else None
            if found is not None:
                return tuple(map(int, found)) if isinstance(found, list) else (int(found),)
        except (ValueError, TypeError, AttributeError) as error:
            raise ModelError(f"{path}: eos_token_id cannot be read ({error}); expected a number or a list") from None
    return ()


def _select_attention(
    config: EngineConfig, spec: DecoderSpec, device: torch.device, dtype: torch.dtype
) -> AttentionBackend[Any]:
    shape = AttentionShape(
        num_heads=spec.num_heads,
        num_kv_heads=spec.num_kv_heads,
        head_dim=spec.head_dim,
        block_tokens=config.block_tokens,
        scale=spec.head_dim**-0.5,
        window_tokens=spec.window_tokens,
    )
    try:
        return select_backend(config.attention, shape, device, dtype)
    except AttentionUnavailableError as error:
        raise UsageError(str(error)) from error


@contextmanager
def _memory_errors(num_tokens: int) -> Iterator[None]:
    """What torch says when memory runs out, as our own error."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        torch.cuda.empty_cache()
        raise OutOfMemoryError(_out_of_memory(num_tokens, error)) from error
    except MemoryError as error:
        raise OutOfMemoryError(_out_of_memory(num_tokens, error)) from error
    except RuntimeError as error:
        if "DefaultCPUAllocator" not in str(error):
            raise
        raise OutOfMemoryError(_out_of_memory(num_tokens, error)) from error


def _out_of_memory(num_tokens: int, error: BaseException) -> str:
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return f"a step of {num_tokens} tokens ran out of memory ({first}); lower token_budget, max_sequences or kv_bytes"
