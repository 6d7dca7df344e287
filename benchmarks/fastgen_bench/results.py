"""What the benchmarks of the engine share: their flags, and where their results go."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastgen_bench.report import dated_name, write_json

RESULTS = Path(__file__).resolve().parents[1] / "results"
"""benchmarks/results in a checkout."""


CACHE_VARIABLE = "FASTGEN_CACHE"


def add_result_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("--dtype", default="auto", help="auto, float32, bfloat16 or float16 (default: auto)")
    parser.add_argument("--attention", default="auto", help="attention backend (default: auto)")
    parser.add_argument("--block-tokens", type=int, default=16, help="tokens per KV block (default: 16)")
    parser.add_argument("--token-budget", type=int, help="tokens per step of splitfuse (default: measured)")
    parser.add_argument("--name", help="the result's name, after its date")
    parser.add_argument(
        "--output", type=Path, default=RESULTS, help="folder for the results (default: benchmarks/results)"
    )


def engine_options(args: argparse.Namespace) -> dict[str, Any]:
    """EngineConfig's fields that the shared flags set."""
    names = ("device", "dtype", "attention", "block_tokens", "token_budget")
    return {name: getattr(args, name) for name in names}


@contextmanager
def fresh_measurements() -> Iterator[None]:
    """What engines measure at start (token budget, linear layers) is measured in this run and shared by its
    engines; what an earlier, perhaps busier, hour left in the cache is not used."""
    before = os.environ.get(CACHE_VARIABLE)
    with tempfile.TemporaryDirectory(prefix="fastgen-bench-") as folder:
        os.environ[CACHE_VARIABLE] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ[CACHE_VARIABLE]
            else:
                os.environ[CACHE_VARIABLE] = before


def numbers(text: str) -> list[int]:
    """`1,4,16`"""
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: write numbers with commas between, such as 1,4,16") from None
    if any(number < 1 for number in found):
        raise argparse.ArgumentTypeError(f"{text!r}: the least is 1")
    return found


def save(args: argparse.Namespace, kind: str, document: Mapping[str, Any], markdown: str) -> Path:
    """Write DATE-NAME.json and .md, print the table; the JSON's path."""
    path = Path(args.output) / f"{dated_name(args.name or kind)}.json"
    write_json(path, document)
    table = path.with_suffix(".md")
    table.write_text(markdown, encoding="utf-8")
    print(markdown)
    print(f"wrote {path} and {table.name}")
    return path
