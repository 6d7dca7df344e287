"""The token budget: how many tokens a step should hold on this machine, with this model.

Throughput rises with the tokens of a step until the device is saturated and is concave in between
(DeepSpeed-FastGen, arXiv 2401.08671, section 3.1). The budget is the knee of that curve: the fewest tokens
that reach most of the best throughput. A larger step would only make every running request wait longer
for its next token; so the budget is also capped where a step would break the inter-token promise.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from fastgen.runtime.measurements import machine_is_busy, remembered

logger = logging.getLogger(__name__)

KNEE_SHARE = 0.9
"""The knee reaches this share of the best throughput measured."""
PROMISE_SHARE = 0.7
"""A step may take this share of the promised gap; the rest is for attention over long contexts."""
LEAST_RANGE_TOKENS = 64
"""Sizes up to here are always measured, time permitting: a knee cannot be seen in two points."""
MEASURE_SECONDS = 12.0
REPEATS = 3
STEADY_SECONDS, MOST_STEADY_SECONDS = 0.3, 2.0
"""How long full steps are run one after the other to see what can be sustained; the longer where it is less."""
STEADY_SHARE = 0.9
"""From this share of the best on, nothing holds the steps back."""
SIZES_TOKENS = (8, 16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192)


class StepTime(NamedTuple):
    """One point of the curve: a step of `num_tokens` took `seconds`."""

    num_tokens: int
    seconds: float

    @property
    def tokens_per_second(self) -> float:
        return self.num_tokens / self.seconds


class TokenBudget(NamedTuple):
    """The budget, and why it is what it is."""

    num_tokens: int
    reason: str
    capacity_tokens_per_second: float
    """What full steps sustain, one after the other; 0.0 where nothing was measured."""


def choose_budget(curve: Sequence[StepTime], promise_seconds: float) -> TokenBudget:
    """The knee of `curve` (ordered by tokens, at least one point), capped by the inter-token promise.

    `promise_seconds`: the longest gap promised between two tokens of a request.
    """
    best = max(point.tokens_per_second for point in curve)
    knee = next(point for point in curve if point.tokens_per_second >= KNEE_SHARE * best)
    allowed_seconds = PROMISE_SHARE * promise_seconds
    kept = [point for point in curve if point.seconds <= allowed_seconds]
    # Where not even the smallest step keeps the promise, a small budget would not save it, only slow prompts down.
    chosen = min(knee, kept[-1]) if kept else knee
    what = f"{chosen.tokens_per_second:.0f} tokens/s at {chosen.seconds * 1e3:.0f} ms a step"
    if not kept:
        reason = f"measured: the knee, {what}; no step keeps the promised {promise_seconds:.3g} s gap here"
    elif chosen is knee:
        reason = f"measured: the knee, {what} (best seen {best:.0f} tokens/s)"
    else:
        reason = f"measured: {what}, the most within {PROMISE_SHARE:.0%} of the promised {promise_seconds:.3g} s gap"
    return TokenBudget(chosen.num_tokens, reason, chosen.tokens_per_second)


def measure_curve(run_step: Callable[[int], None], most_tokens: int, promise_seconds: float) -> list[StepTime]:
    """Time `run_step(num_tokens)` for growing sizes; the best of a few runs each, for what disturbs a run
    only ever makes it longer.

    Ends at `most_tokens`, when a step takes longer than the promise would ever allow, when throughput has
    clearly stopped growing, or when the time for measuring is spent.
    """
    deadline = time.monotonic() + MEASURE_SECONDS
    curve: list[StepTime] = []
    sizes = [size for size in SIZES_TOKENS if size < most_tokens] or [most_tokens]
    run_step(sizes[0])  # the first run pays for what is allocated lazily
    for num_tokens in sizes:
        curve.append(StepTime(num_tokens, _best_seconds(partial(run_step, num_tokens), deadline)))
        best = max(point.tokens_per_second for point in curve)
        saturated = len(curve) >= 3 and all(point.tokens_per_second < 0.97 * best for point in curve[-2:])
        too_slow = num_tokens >= LEAST_RANGE_TOKENS and curve[-1].seconds > promise_seconds
        if saturated or too_slow or time.monotonic() > deadline:
            break
    return curve


def _best_seconds(run: Callable[[], None], deadline: float) -> float:
    times: list[float] = []
    while len(times) < REPEATS and (not times or time.monotonic() + times[-1] < deadline):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def sustained_tokens_per_second(run_step: Callable[[int], None], num_tokens: int, best: float) -> float:
    """Throughput of steps of `num_tokens`, one after the other; at most `best`, that of a single undisturbed step.

    A CPU limit is a share of each tenth of a second: between the pauses it makes, a step runs at full speed, so the
    best of a few steps does not know of it, and neither does a machine where the curve was measured before.
    """
    start, done_tokens = time.perf_counter(), 0
    while True:
        run_step(num_tokens)
        done_tokens += num_tokens
        seconds = time.perf_counter() - start
        is_steady = seconds >= STEADY_SECONDS and done_tokens >= STEADY_SHARE * best * seconds
        if is_steady or seconds >= MOST_STEADY_SECONDS:
            return min(best, done_tokens / seconds)


def measured_budget(
    run_step: Callable[[int], None],
    most_tokens: int,
    promise_seconds: float,
    cache_file: Path,
    is_busy: Callable[[], bool] = machine_is_busy,
) -> TokenBudget:
    """Measure this machine, or reuse the curve it gave before (`cache_file`, one per model, device, versions).

    What a busy machine gave serves this start only: it would be wrong on a quiet one. The capacity is that of now:
    what a CPU limit or neighbours leave of it differs from one start to the next.
    """

    def measure() -> list[StepTime]:
        logger.info("measuring step time against tokens, at most %.0f s ...", MEASURE_SECONDS)
        return measure_curve(run_step, most_tokens, promise_seconds)

    try:
        curve = _curve(remembered(cache_file, measure, keep=lambda: not is_busy()))
    except (TypeError, ValueError) as error:
        logger.warning("measuring again: %s holds no curve (%s)", cache_file, error)
        cache_file.unlink(missing_ok=True)
        curve = _curve(remembered(cache_file, measure, keep=lambda: not is_busy()))
    chosen = choose_budget(curve, promise_seconds)
    sustained = sustained_tokens_per_second(run_step, chosen.num_tokens, chosen.capacity_tokens_per_second)
    return chosen._replace(capacity_tokens_per_second=sustained)


def _curve(values: Any) -> list[StepTime]:
    return [StepTime(int(num_tokens), float(seconds)) for num_tokens, seconds in values]
