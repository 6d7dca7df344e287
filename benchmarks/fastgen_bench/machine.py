"""On what, when, from which commit and how a number came about: it stands beside every saved figure."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

COMMIT_VARIABLE = "FASTGEN_COMMIT"
VECTOR_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")


def hardware() -> dict[str, Any]:
    """The processor, memory and GPUs of this machine."""
    info = _key_values("/proc/cpuinfo")
    memory = _key_values("/proc/meminfo").get("MemTotal", "0 kB")
    flags = set(info.get("flags", "").split())
    return {
        "cpu": info.get("model name", platform.processor() or platform.machine()),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "vector_instructions": [flag for flag in VECTOR_FLAGS if flag in flags],
        "memory_gib": round(int(memory.split()[0]) / 2**20, 1),
        "gpus": _gpus(),
    }


def software() -> dict[str, str]:
    """Versions of what the figures depend on, where installed."""
    versions = {"python": platform.python_version()}
    for name in ("torch", "transformers", "triton", "flash-attn", "aiohttp", "fastgen-serving"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def commit() -> str | None:
    """The commit this code is from, "-dirty" added where files differ from it; None outside a checkout.

    FASTGEN_COMMIT overrides it, for copies of the tree without their history.
    """
    if given := os.environ.get(COMMIT_VARIABLE):
        return given
    here = Path(__file__).resolve().parent
    head = _output(["git", "-C", str(here), "rev-parse", "--short=12", "HEAD"])
    if head is None:
        return None
    changed = _output(["git", "-C", str(here), "status", "--porcelain", "--untracked-files=no"])
    return head + ("-dirty" if changed else "")


def command_line(argv: Sequence[str] | None = None) -> str:
    """How this process was started, without the folders its programs live in."""
    words = list(argv if argv is not None else sys.orig_argv)
    if not words:
        return ""
    words[0] = Path(words[0]).name
    if words[0].startswith("python") and len(words) > 1 and not words[1].startswith("-"):
        script = Path(words[1])
        words = [script.name, *words[2:]] if not script.suffix else [words[0], script.name, *words[2:]]
    return shlex.join(words)


@contextmanager
def provenance() -> Iterator[dict[str, Any]]:
    """A dictionary that says where figures come from; `load_average_after` is filled in at the end."""
    about: dict[str, Any] = {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "commit": commit(),
        "command": command_line(),
        "hardware": hardware(),
        "software": software(),
        "load_average_before": _load_average(),
        "load_average_after": None,
    }
    try:
        yield about
    finally:
        about["load_average_after"] = _load_average()


def _load_average() -> list[float]:
    return [round(value, 2) for value in os.getloadavg()]


def _gpus() -> list[str]:
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    return (_output(query) or "").splitlines()


def _output(command: list[str]) -> str | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _key_values(path: str) -> dict[str, str]:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in lines if ":" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}
