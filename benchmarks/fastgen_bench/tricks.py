"""What each trick for speed is worth: the same requests with it on and off, taking turns.

    python -m fastgen_bench.tricks                       158 M Llama on this machine; a few minutes
    python -m fastgen_bench.tricks --only prefix-cache,attention --minutes 2

Every trick that makes FastGen faster has an off switch; this is where its number comes from.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from fastgen.config import EngineConfig
from fastgen.engine import Engine
from fastgen.errors import UsageError
from fastgen_bench.in_process import InProcessLoop, TokenRequest, random_requests
from fastgen_bench.machine import provenance
from fastgen_bench.metrics import Summary, summarize
from fastgen_bench.report import figure, markdown_table, provenance_lines
from fastgen_bench.results import add_result_arguments, engine_options, fresh_measurements, save
from fastgen_bench.shapes import LlamaShape, random_llama, shape_named


@dataclasses.dataclass(frozen=True, slots=True)
class Trick:
    """One comparison: `off` are the engine options that switch it off; the rest describes load and figure."""

    name: str
    says: str
    off: dict[str, Any]
    figure: str
    unit: str
    more_is_better: bool
    clients: int
    requests: int
    prompt_tokens: int
    output_tokens: int
    shared_tokens: int = 0
    sigma: float = 0.0
    on: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def load(self) -> str:
        shared = f", {self.shared_tokens} of them shared" if self.shared_tokens else ""
        clients = f"{self.clients} client" + ("s" if self.clients > 1 else "")
        spread = f" (sigma {self.sigma:g} x mean)" if self.sigma else ""
        return f"{clients}, {self.prompt_tokens} prompt tokens{shared}, {self.output_tokens} output{spread}"


TRICKS = (
    Trick(
        name="prefix-cache",
        says="KV blocks of prompts that begin alike are used again (`prefix_cache`)",
        on={"prefix_cache": True},
        off={"prefix_cache": False},
        figure="median_ttft_ms",
        unit="ms to first token",
        more_is_better=False,
        clients=1,
        requests=6,
        prompt_tokens=512,
        output_tokens=2,
        shared_tokens=448,
    ),
    Trick(
        name="linear-decode",
        says="Matrix products by the fastest way measured on this machine, decodes (`linear=auto`, off: `plain`)",
        off={"linear": "plain"},
        figure="median_itl_ms",
        unit="ms between tokens",
        more_is_better=False,
        clients=16,
        requests=16,
        prompt_tokens=8,
        output_tokens=24,
    ),
    Trick(
        name="linear-prompt",
        says="The same, prompts",
        off={"linear": "plain"},
        figure="median_ttft_ms",
        unit="ms to first token",
        more_is_better=False,
        clients=1,
        requests=4,
        prompt_tokens=512,
        output_tokens=1,
    ),
    Trick(
        name="attention",
        says="Attention that reads only the blocks a sequence has (`attention=auto`, off: `reference`)",
        off={"attention": "reference"},
        figure="output_throughput",
        unit="output tokens/s",
        more_is_better=True,
        clients=4,
        requests=4,
        prompt_tokens=512,
        output_tokens=24,
    ),
    Trick(
        name="splitfuse",
        says="Prompts in equal chunks beside the decodes (`composition=splitfuse`, off: `prefill-first`)",
        off={"composition": "prefill-first", "token_budget": None},
        figure="p99_itl_ms",
        unit="ms, p99 between tokens",
        more_is_better=False,
        clients=4,
        requests=16,
        prompt_tokens=512,
        output_tokens=32,
        sigma=0.3,  # so that prompts arrive while others decode
    ),
    Trick(
        name="dtype",
        says="The dtype this machine is fastest at (`dtype=auto`, off: `float32`)",
        off={"dtype": "float32"},
        figure="output_throughput",
        unit="output tokens/s",
        more_is_better=True,
        clients=4,
        requests=8,
        prompt_tokens=128,
        output_tokens=32,
    ),
)


def main(words: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(words)
    shape = shape_named(args.shape)
    chosen = _chosen(args.only)
    deadline = time.monotonic() + 60.0 * args.minutes
    rows = []
    stored = torch.bfloat16 if torch.cuda.is_available() and args.device != "cpu" else torch.float32
    folder = random_llama(shape, stored)
    with provenance() as about, fresh_measurements():
        for position, trick in enumerate(chosen):
            share = (deadline - time.monotonic()) / (len(chosen) - position)
            rows.append(_measure(trick, folder, shape, args, time.monotonic() + share))
            print(f"{trick.name}: on {rows[-1]['on']:.4g}, off {rows[-1]['off']:.4g} {trick.unit}", flush=True)
    workload = {"shape": shape.name, "parameters": shape.num_parameters, "threads": torch.get_num_threads()}
    document = {"kind": "tricks", **about, "workload": workload, "tricks": rows}
    save(args, "tricks", document, _markdown(document))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fastgen_bench.tricks", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--shape", default="llama-158m", help="default: llama-158m")
    parser.add_argument("--only", help="some of: " + ", ".join(trick.name for trick in TRICKS))
    parser.add_argument("--repetitions", type=int, default=5, help="most repetitions per trick (default: 5)")
    parser.add_argument("--minutes", type=float, default=8.0, help="begin no new repetition after (default: 8)")
    add_result_arguments(parser)
    return parser


def _chosen(only: str | None) -> list[Trick]:
    by_name = {trick.name: trick for trick in TRICKS}
    names = only.split(",") if only else list(by_name)
    if unknown := [name for name in names if name not in by_name]:
        raise UsageError(f"--only {unknown[0]!r} is no trick; known: {', '.join(by_name)}")
    return [by_name[name] for name in names]


def _measure(
    trick: Trick, folder: Path, shape: LlamaShape, args: argparse.Namespace, deadline: float
) -> dict[str, Any]:
    """Medians of repetitions in which on and off take turns to go first."""
    base = {**engine_options(args), "model": str(folder), "prefix_cache": False, "load_progress": False}
    with _engine(base | trick.on) as on:
        # Both sides get the budget measured for the trick's own, so that only the trick differs.
        budget = {"token_budget": on.info.token_budget}
        with _engine(base | trick.on | budget | trick.off) as off:
            sides = {"on": InProcessLoop(on), "off": InProcessLoop(off)}
            values: dict[str, list[float]] = {"on": [], "off": []}
            for loop in sides.values():
                loop.run(_requests(trick, shape, 2, seed=0), trick.clients)
            for repetition in range(args.repetitions):
                began = time.monotonic()
                requests = _requests(trick, shape, trick.requests, seed=repetition + 1)
                for side in ("on", "off") if repetition % 2 == 0 else ("off", "on"):
                    values[side].append(_value(trick, sides[side], requests))
                if time.monotonic() + (time.monotonic() - began) > deadline:
                    break
            del sides
            facts = {"dtype": on.info.dtype, "attention": on.info.attention, "device": on.info.device}
    medians = {side: statistics.median(found) for side, found in values.items()}
    gain = medians["on"] / medians["off"] if trick.more_is_better else medians["off"] / medians["on"]
    return {**dataclasses.asdict(trick), "load": trick.load, **facts, "runs": values, **medians, "gain": gain} | {
        "switched_on": trick.on,
        "switched_off": trick.off,
    }


@contextmanager
def _engine(options: dict[str, Any]) -> Iterator[Engine]:
    engine = Engine(EngineConfig(**options))
    try:
        yield engine
    finally:
        engine.close()
        gc.collect()


def _requests(trick: Trick, shape: LlamaShape, count: int, *, seed: int) -> list[TokenRequest]:
    return random_requests(
        count,
        vocab_size=shape.vocab_size,
        prompt_tokens=trick.prompt_tokens,
        output_tokens=trick.output_tokens,
        shared_tokens=trick.shared_tokens,
        sigma=trick.sigma,
        seed=seed,
    )


def _value(trick: Trick, loop: InProcessLoop, requests: Sequence[TokenRequest]) -> float:
    records = loop.run(requests, trick.clients)
    failures = [record.error for record in records if not record.ok]
    if failures:
        raise RuntimeError(f"{trick.name}: {len(failures)} requests failed: {failures[0]}")
    summary: Summary = summarize(records, clients=trick.clients)
    return float(summary[trick.figure])


TRICK_COLUMNS = ("trick", "load", "figure", "off", "on", "gain", "runs")


def trick_table(rows: Sequence[dict[str, Any]]) -> str:
    """All tricks as a table."""
    cells = [
        [
            row["says"],
            f"{row['load']}; {row['dtype']}",
            row["unit"],
            figure(row["off"]),
            figure(row["on"]),
            f"**{row['gain']:.2f} x**",
            str(len(row["runs"]["on"])),
        ]
        for row in rows
    ]
    return markdown_table(TRICK_COLUMNS, cells)


def _markdown(document: dict[str, Any]) -> str:
    workload = document["workload"]
    parts = [
        f"# Tricks, one by one: {workload['shape']}",
        f"Medians of runs that took turns, {workload['threads']} threads, random weights, greedy, closed loop in "
        "process.",
        trick_table(document["tricks"]),
        provenance_lines(document),
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
