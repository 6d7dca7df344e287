"""Reading numbers from an answer of Prometheus' HTTP API, believing nothing.

https://prometheus.io/docs/prometheus/latest/querying/api/#instant-queries
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

MOST_CHARACTERS = 200
"""Of somebody else's words within ours."""


class Readings(NamedTuple):
    """Numbers by name, and what was wrong with the answer, if anything was. A name that is missing is not known."""

    values: Mapping[str, float]
    problems: tuple[str, ...] = ()


def read_numbers(answer: Any, label: str, now_unix_seconds: float, stale_seconds: float) -> Readings:
    """The numbers an instant query answered with, one for each value of `label`.

    No series, and 0/0 (no load in the window), are honest answers without a number. Several series of one name, Inf, a
    negative number, an answer for another time, a warning (part of the data is missing), an error or another shape are
    problems.
    """
    result, problem = _series(answer)
    if problem is not None:
        return Readings({}, (problem,))
    samples: dict[str, list[Any]] = {}
    for series in result:
        labels = series.get("metric") if isinstance(series, dict) else None
        name = labels.get(label) if isinstance(labels, dict) else None
        if not isinstance(name, str):
            return Readings({}, (f"the answer has a series without the label {label}",))
        samples.setdefault(name, []).append(series.get("value"))
    values: dict[str, float] = {}
    problems = [f"warning: {str(warning)[:MOST_CHARACTERS]}" for warning in _warnings(answer)]
    for name, found in samples.items():
        value, wrong = _sample(found, now_unix_seconds, stale_seconds)
        if wrong is not None:
            problems.append(f"{name}: {wrong}")
        if value is not None:
            values[name] = value
    return Readings(values, tuple(problems))


def _series(answer: Any) -> tuple[list[Any], str | None]:
    """The vector of an answer, or why there is none."""
    if not isinstance(answer, dict):
        return [], "the answer is no JSON object"
    if answer.get("status") != "success":
        said = answer.get("error") or answer.get("status") or "the answer has no status"
        return [], str(said)[:MOST_CHARACTERS]
    data = answer.get("data")
    result = data.get("result") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(result, list):
        return [], "the answer has no result"
    if data.get("resultType") != "vector":
        return [], f"the answer is a {str(data.get('resultType'))[:MOST_CHARACTERS]}, not a vector"
    return result, None


def _warnings(answer: Mapping[str, Any]) -> list[Any]:
    """What Prometheus, or several of them behind one address, could not read."""
    warnings = answer.get("warnings")
    return warnings if isinstance(warnings, list) else []


def _sample(pairs: list[Any], now_unix_seconds: float, stale_seconds: float) -> tuple[float | None, str | None]:
    """The one pair [time, "number"] as a number, and what is wrong with it."""
    if len(pairs) > 1:
        return None, f"{len(pairs)} series where one was asked for"
    try:
        at, text = pairs[0]
        at_seconds, value = float(at), float(text)
    except (TypeError, ValueError, OverflowError):
        return None, "a sample that is no pair of time and number"
    if not abs(now_unix_seconds - at_seconds) <= stale_seconds:
        return None, "an answer for another time; check the clocks, and caches in between"
    if math.isnan(value):
        return None, None
    if math.isinf(value) or value < 0:
        return None, f"{str(text)[:MOST_CHARACTERS]} is no amount"
    return value, None
