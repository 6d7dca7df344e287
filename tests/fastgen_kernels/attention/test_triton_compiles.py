"""The Triton kernels compile for Hopper (sm_90) without a GPU, down to machine code where ptxas is bundled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from ragged_batches import attention_shape

triton = pytest.importorskip("triton")

from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from fastgen_kernels.attention.triton import CHUNK_ROWS, tile_sizes  # noqa: E402
from fastgen_kernels.attention.triton_kernels import attend_tiles, merge_splits  # noqa: E402

HOPPER = GPUTarget("cuda", 90, 32)
SHARED_MEMORY_BYTES = 227 * 1024
POINTERS = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.float16: "*fp16"}


@pytest.fixture(autouse=True)
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing compiled before is found again."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


def compiled(kernel: Any, pointers: dict[str, str], constants: dict[str, Any]) -> Any:
    """Every argument that is neither a pointer nor a constant is an integer, but for the scale."""
    signature = {
        name: "constexpr" if name in constants else pointers.get(name, "fp32" if name == "scale_log2" else "i32")
        for name in kernel.arg_names
    }
    return triton.compile(ASTSource(kernel, signature, constants), target=HOPPER)


def attend(dtype: torch.dtype, *, partial: bool, **shape: Any) -> Any:
    same = dict.fromkeys(("q_ptr", "k_ptr", "v_ptr"), POINTERS[dtype])
    tables = ("tile_sequences_ptr", "tile_firsts_ptr", "query_starts_ptr", "context_lens_ptr", "block_tables_ptr")
    out = "*fp32" if partial else POINTERS[dtype]
    pointers = {**same, **dict.fromkeys(tables, "*i32"), "out_ptr": out, "lse_ptr": "*fp32"}
    constants = {**tile_sizes(attention_shape(**shape), 16 if partial else CHUNK_ROWS, dtype), "PARTIAL": partial}
    return compiled(attend_tiles, pointers, constants)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", list(POINTERS))
@pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION")
def test_chunks_and_decodes_of_the_common_shape(dtype: torch.dtype) -> None:
    for partial in (False, True):
        kernel = attend(dtype, partial=partial, num_heads=32, num_kv_heads=8, head_dim=128)
        assert kernel.asm["cubin"]
        assert ".target sm_90" in kernel.asm["ptx"]
        assert kernel.metadata.shared <= SHARED_MEMORY_BYTES


@pytest.mark.slow
@pytest.mark.parametrize(
    ("head_dim", "dtype", "window"),
    [(64, torch.bfloat16, None), (80, torch.float16, 4096), (96, torch.bfloat16, 4096), (256, torch.bfloat16, None)],
)
def test_other_heads_and_windows(head_dim: int, dtype: torch.dtype, window: int | None) -> None:
    shape = {"num_heads": 6, "num_kv_heads": 2, "head_dim": head_dim, "block_tokens": 256, "window_tokens": window}
    assert attend(dtype, partial=False, **shape).metadata.shared <= SHARED_MEMORY_BYTES


def test_merging() -> None:
    for pointer in POINTERS.values():
        pointers = dict.fromkeys(("partial_ptr", "lse_ptr"), "*fp32") | {"out_ptr": pointer}
        pointers |= dict.fromkeys(("tile_sequences_ptr", "query_starts_ptr"), "*i32")
        kernel = compiled(merge_splits, pointers, {"HEAD_DIM": 80, "HEAD_DIM_PADDED": 128, "SPLITS_PADDED": 16})
        assert kernel.asm["cubin"]
