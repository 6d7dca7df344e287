"""Reading one number from an answer of Prometheus' HTTP API, believing nothing.

https://prometheus.io/docs/prometheus/latest/querying/api/#instant-queries
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple


class Reading(NamedTuple):
    """A number, or None where there is none; and what was wrong with the answer, if anything was."""

    value: float | None
    problem: str | None = None


def read_number(answer: Any, now_unix_seconds: float, stale_seconds: float) -> Reading:
    """The one number an instant query answered with.

    No series, and 0/0 (no load in the window), are honest answers without a number. Several series, Inf, a negative
    number, an answer for another time, an error or another shape are problems.
    """
    if not isinstance(answer, dict):
        return Reading(None, "no answer" if answer is None else "the answer is no JSON object")
    if answer.get("status") != "success":
        return Reading(None, str(answer.get("error") or answer.get("status") or "the answer has no status")[:200])
    data = answer.get("data")
    result = data.get("result") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(result, list):
        return Reading(None, "the answer has no result")
    if data.get("resultType") == "scalar":
        return _sample(result, now_unix_seconds, stale_seconds)
    if data.get("resultType") != "vector":
        return Reading(None, f"the answer is a {data.get('resultType')}, not a vector")
    if not result:
        return Reading(None)
    if len(result) > 1:
        return Reading(None, f"{len(result)} series where one was asked for")
    series = result[0]
    return _sample(series.get("value") if isinstance(series, dict) else None, now_unix_seconds, stale_seconds)


def _sample(pair: Any, now_unix_seconds: float, stale_seconds: float) -> Reading:
    """A pair [time, "number"]."""
    try:
        at, text = pair
        at_seconds, value = float(at), float(text)
    except (TypeError, ValueError):
        return Reading(None, "a sample that is no pair of time and number")
    if not abs(now_unix_seconds - at_seconds) <= stale_seconds:
        return Reading(None, "an answer for another time; check the clocks, and caches in between")
    if math.isnan(value):
        return Reading(None)
    if math.isinf(value) or value < 0:
        return Reading(None, f"{text} is no amount")
    return Reading(value)
