"""Writing results: JSON for machines, a table for people."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from fastgen_bench.metrics import Summary

SCHEMA = 1

Cells = Sequence[str]


def write_json(path: Path, value: Mapping[str, Any]) -> Path:
    """Written beside and moved into place: a reader never finds half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps({"schema": SCHEMA, **value}, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(part, path)
    return path


def markdown_table(header: Cells, rows: Sequence[Cells]) -> str:
    """A GitHub table; the first column left, figures right."""
    lines = ["| " + " | ".join(header) + " |", "|---|" + "---:|" * (len(header) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def provenance_lines(about: Mapping[str, Any]) -> str:
    """The lines under a table that say where its figures come from."""
    hardware = about["hardware"]
    machine = f"{hardware['cpu']}, {hardware['cores']} cores, {hardware['memory_gib']} GiB"
    vectors = ", ".join(hardware["vector_instructions"])
    versions = ", ".join(f"{name} {version}" for name, version in about["software"].items())
    before, after = about["load_average_before"], about["load_average_after"]
    lines = [
        f"- Machine: {machine}" + (f" ({vectors})" if vectors else ""),
        *(f"- GPU: {gpu}" for gpu in hardware["gpus"]),
        f"- Software: {versions}",
        f"- Date: {about['date']}; commit: {about['commit'] or 'unknown'}",
        f"- Command: `{about['command']}`",
        f"- Load average (1, 5, 15 min) before: {before}; after: {after}",
    ]
    return "\n".join(lines)


def dated_name(label: str, when: datetime | None = None) -> str:
    """`2026-11-21-label`: how files in benchmarks/results are called."""
    return f"{(when or datetime.now().astimezone()):%Y-%m-%d}-{label}"


def figure(value: float | None, digits: int = 3) -> str:
    """A number with `digits` significant digits, never in scientific notation; a dash for the unknown."""
    if value is None:
        return "–"
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{decimals}f}"


POINT_COLUMNS = (
    "load",
    "req/s",
    "out tok/s",
    "TTFT p50",
    "TTFT p99",
    "gap p50",
    "gap p99",
    "E2EL mean s",
    "eff/s @2",
    "eff/s @4",
    "eff/s @6",
    "fails",
)
POINT_LEGEND = (
    "TTFT (time to first token) and gaps between pieces in ms; E2EL: request to last token; "
    "eff/s @r: requests a second that kept the promise at r tokens/s"
)


def point_row(point: Summary) -> list[str]:
    """One row under POINT_COLUMNS."""
    latency = point["mean_e2el_ms"]
    effective = point["effective_throughput"]
    return [
        str(point["label"]),
        figure(point["request_throughput"]),
        figure(point["output_throughput"]),
        figure(point["median_ttft_ms"]),
        figure(point["p99_ttft_ms"]),
        figure(point["median_itl_ms"]),
        figure(point["p99_itl_ms"]),
        figure(None if latency is None else latency / 1000.0),
        *(figure(effective[rate]) for rate in effective),
        str(point["failed"]),
    ]
