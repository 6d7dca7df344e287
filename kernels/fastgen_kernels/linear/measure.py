"""Measuring the candidates on this machine: once per shape and dtype, kept on disk for the next start."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch

from fastgen_kernels.cache_folder import cache_folder
from fastgen_kernels.linear.candidates import CANDIDATES, Multiply
from fastgen_kernels.linear.choice import PLAIN, LinearChoice, Times, choose

log = logging.getLogger(__name__)

TOKENS = (1, 4, 16, 64, 256)
"""Numbers of tokens that are measured."""

SMALLEST_ELEMENTS = 64 * 1024
"""Weights below this are not worth a choice: most of the time goes into the call itself."""

LARGEST_ELEMENTS = 4 * 1024 * 1024
"""Of larger weights only the first rows are measured, to be quick."""

SECONDS_PER_SHAPE = 0.5
"""A model has four or five shapes. What does not fit is left out, the largest numbers of tokens first."""

MOST_ROUNDS = 8

SECOND_COPY_SHARE = 0.005
"""Of the memory now available, what one layer's second copy may take; there are some hundred layers in a model."""

_known: dict[str, LinearChoice] = {}


def measured_choice(weight: torch.Tensor, has_bias: bool) -> LinearChoice:
    """The choice for weights [out, in] like this one: remembered, read from disk, or measured now."""
    if weight.device.type != "cpu" or weight.numel() < SMALLEST_ELEMENTS or not weight.dtype.is_floating_point:
        return PLAIN
    key = _key(weight, has_bias)
    if key not in _known:
        times = _read(key)
        if times is None:
            times = _measure_here(weight, has_bias, key)
        second_copy = weight.nbytes < SECOND_COPY_SHARE * _available_bytes()
        _known[key] = choose(times, second_copy=second_copy)
        shape = "x".join(map(str, weight.shape))
        log.info("linear %s %s: %s", shape, str(weight.dtype).removeprefix("torch."), _describe(_known[key], times))
    return _known[key]


def _measure_here(weight: torch.Tensor, has_bias: bool, key: str) -> Times:
    """On a busy machine threads wait for each other's cores, so there one thread's CPU time is measured: good
    enough for now. Only what was measured undisturbed, with all threads, is kept."""
    if os.getloadavg()[0] <= (os.cpu_count() or 1):
        times = measure(weight, has_bias, time.perf_counter)
        _write(key, times)
        return times
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return measure(weight, has_bias, time.thread_time)
    finally:
        torch.set_num_threads(threads)


def measure(weight: torch.Tensor, has_bias: bool, clock: Callable[[], float]) -> Times:
    """Seconds of each available candidate at TOKENS. What disagrees with `plain` is left out."""
    deadline = clock() + SECONDS_PER_SHAPE
    rows = max(1, LARGEST_ELEMENTS // weight.shape[1])
    weight = weight[:rows].contiguous()
    bias = torch.zeros(weight.shape[0], dtype=weight.dtype) if has_bias else None
    ways = _working(weight, bias)
    times: dict[str, dict[int, float]] = {name: {} for name in ways}
    for left, count in zip(range(len(TOKENS), 0, -1), TOKENS, strict=True):
        now = clock()
        if times["plain"] and now > deadline:
            break
        x = torch.randn(count, weight.shape[1]).to(weight.dtype)
        for name, seconds in _race(ways, x, now + (deadline - now) / left, clock).items():
            times[name][count] = seconds
    return times


def _working(weight: torch.Tensor, bias: torch.Tensor | None) -> dict[str, Multiply]:
    ways = {"plain": CANDIDATES["plain"].build(weight, bias)}
    x = torch.randn(5, weight.shape[1]).to(weight.dtype)
    expected = ways["plain"](x).float()
    tolerance = (1e-4 if x.dtype == torch.float32 else 2e-2) * float(expected.abs().max())
    for name, candidate in CANDIDATES.items():
        if name == "plain" or not candidate.is_available(weight.dtype):
            continue
        try:
            # A weight of its own, so that it finds in the cache no more than the others do.
            multiply = candidate.build(weight.clone(), bias)
            agrees = bool(((multiply(x).float() - expected).abs() <= tolerance).all())
        except RuntimeError as error:
            log.info("linear: %s does not run here: %s", name, str(error).partition("\n")[0])
            continue
        if agrees:
            ways[name] = multiply
        else:
            log.warning("linear: %s does not agree with torch's own on this machine; not used", name)
    return ways


def _race(ways: dict[str, Multiply], x: torch.Tensor, deadline: float, clock: Callable[[], float]) -> dict[str, float]:
    """The fastest call of each. They take turns, so that a disturbance meets all of them, and one's weight does
    not stay in the cache for its next turn. The first round warms up and does not count."""
    best = dict.fromkeys(ways, float("inf"))
    for turn in range(1 + MOST_ROUNDS):
        for name, multiply in ways.items():
            started = clock()
            multiply(x)
            if turn > 0:
                best[name] = min(best[name], clock() - started)
        if turn > 0 and clock() > deadline:
            break
    return best


def _describe(choice: LinearChoice, times: Times) -> str:
    borders = [*(f"to {count}" for count in choice.most_tokens), "above" if choice.most_tokens else "always"]
    ways = ", ".join(f"{border}: {name}" for border, name in zip(borders, choice.names, strict=True))
    counts = sorted(times["plain"])
    gains = [times["plain"][count] / times[choice.name_for(count)][count] for count in counts]
    return f"{ways} ({'/'.join(f'{gain:.2f}' for gain in gains)} x plain at {'/'.join(map(str, counts))} tokens)"


def _key(weight: torch.Tensor, has_bias: bool) -> str:
    facts = (torch.__version__, _cpu_name(), torch.get_num_threads(), tuple(weight.shape), str(weight.dtype), has_bias)
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:20]


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    # Machines of one name differ in instructions, so the flags belong to the name.
    return "\n".join(dict.fromkeys(line for line in lines if line.startswith(("model name", "flags", "Features"))))


def _available_bytes() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass  # not known is none to spare: then no second copy of a weight is kept
    return 0


def _read(key: str) -> Times | None:
    try:
        stored = json.loads((cache_folder() / "linear" / f"{key}.json").read_text())
        times = {name: {int(count): float(value) for count, value in row.items()} for name, row in stored.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return None
    if not times.get("plain") or any(name not in CANDIDATES for name in times):
        return None
    complete = all(row.keys() == times["plain"].keys() for row in times.values())
    return times if complete and all(value > 0 for row in times.values() for value in row.values()) else None


def _write(key: str, times: Times) -> None:
    folder = cache_folder() / "linear"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".{key}.{os.getpid()}"
        partial.write_text(json.dumps(times))
        partial.replace(folder / f"{key}.json")
    except OSError as error:
        log.debug("linear: measurements are not kept: %s", error)
