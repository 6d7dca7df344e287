"""Our engine against `transformers`, in one run on one machine.

    python -m fastgen_bench.peers                            158 M Llama, 512/64 tokens, 1, 4, 16 clients
    python -m fastgen_bench.peers --dtypes float32 --minutes 4

transformers runs its best case: static batches of equal prompts, in lock-step, nothing waiting. Ours runs a
closed loop of as many clients, in process. Both are greedy, ignore end-of-sequence, share nothing between
prompts, use the same weights, dtype and threads; they take turns, and who goes first changes each time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from fastgen.config import EngineConfig
from fastgen.engine import Engine
from fastgen_bench.in_process import InProcessLoop, TokenRequest, random_requests
from fastgen_bench.machine import provenance
from fastgen_bench.metrics import duration_seconds, summarize
from fastgen_bench.records import RequestRecord
from fastgen_bench.report import figure, markdown_table, provenance_lines
from fastgen_bench.results import add_result_arguments, engine_options, fresh_measurements, numbers, save
from fastgen_bench.shapes import LlamaShape, random_llama, shape_named

REQUESTS_PER_RUN = {1: 2, 4: 8, 16: 32}
"""By clients; twice the clients for others. More than one batch, so that a closed loop is more than a burst."""


@dataclass(slots=True)
class Cell:
    """One dtype and number of clients: what each repetition gave."""

    clients: int
    ours_tokens_per_second: list[float] = field(default_factory=list)
    theirs_tokens_per_second: list[float] = field(default_factory=list)
    records: list[RequestRecord] = field(default_factory=list)
    identical_answers: int = 0
    compared_answers: int = 0

    def summary(self) -> dict[str, Any]:
        ours = statistics.median(self.ours_tokens_per_second)
        theirs = statistics.median(self.theirs_tokens_per_second)
        points = summarize(self.records, clients=self.clients)
        latency = ("median_ttft_ms", "p99_ttft_ms", "median_itl_ms", "p99_itl_ms", "mean_e2el_ms")
        return {
            "clients": self.clients,
            "ours_tokens_per_second": ours,
            "transformers_tokens_per_second": theirs,
            "ratio": ours / theirs,
            "ours_runs": self.ours_tokens_per_second,
            "transformers_runs": self.theirs_tokens_per_second,
            "identical_answers": self.identical_answers,
            "compared_answers": self.compared_answers,
            **{key: points[key] for key in latency},
        }


def main(words: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(words)
    shape = shape_named(args.shape)
    folder = random_llama(shape, torch.float32)
    deadline = time.monotonic() + 60.0 * args.minutes
    with provenance() as about, fresh_measurements():
        rivals = [Rivals(folder, shape, dtype, args) for dtype in args.dtypes]
        _take_turns(rivals, args, deadline)
    workload = {
        "shape": shape.name,
        "parameters": shape.num_parameters,
        "prompt_tokens": args.prompt_tokens,
        "output_tokens": args.output_tokens,
        "threads": torch.get_num_threads(),
    }
    tables = {pair.dtype: [cell.summary() for cell in pair.cells] for pair in rivals}
    engines = {pair.dtype: pair.facts for pair in rivals}
    document = {"kind": "peers", **about, "workload": workload, "engines": engines, "tables": tables}
    save(args, "peers", document, _markdown(document))
    behind = [(dtype, row["clients"]) for dtype, rows in tables.items() for row in rows if row["ratio"] <= 1.0]
    for dtype, clients in behind:
        print(f"BEHIND transformers: {dtype}, {clients} clients")
    return 1 if behind else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fastgen_bench.peers", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--shape", default="llama-158m", help="default: llama-158m")
    parser.add_argument("--clients", type=numbers, default=[1, 4, 16], help="default: 1,4,16")
    parser.add_argument("--dtypes", type=lambda text: text.split(","), default=["float32", "bfloat16"])
    parser.add_argument("--prompt-tokens", type=int, default=512, help="default: 512")
    parser.add_argument("--output-tokens", type=int, default=64, help="default: 64")
    parser.add_argument("--repetitions", type=int, default=5, help="most repetitions per cell (default: 5)")
    parser.add_argument("--minutes", type=float, default=8.0, help="begin nothing that would end later (default: 8)")
    parser.add_argument("--linear", default="auto", choices=["auto", "plain"], help="our linear layers (default: auto)")
    add_result_arguments(parser)
    return parser


class StaticBatches:
    """transformers' generate over lock-step batches of equal prompts."""

    def __init__(self, folder: Path, dtype: torch.dtype, device: torch.device) -> None:
        from transformers import AutoModelForCausalLM

        self._model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).to(device).eval()
        self._model.generation_config.eos_token_id = None
        self._model.generation_config.pad_token_id = 0
        self._device = device

    def run(self, requests: Sequence[TokenRequest], clients: int) -> list[list[int]]:
        """The answers, batch after batch of `clients` requests."""
        answers: list[list[int]] = []
        for start in range(0, len(requests), clients):
            batch = requests[start : start + clients]
            prompts = torch.tensor([request.prompt_token_ids for request in batch], device=self._device)
            with torch.inference_mode():
                out = self._model.generate(
                    prompts,
                    attention_mask=torch.ones_like(prompts),
                    do_sample=False,
                    max_new_tokens=batch[0].output_tokens,
                )
            answers += out[:, prompts.shape[1] :].tolist()
        return answers


class Rivals:
    """Both sides in one dtype, loaded and warm."""

    def __init__(self, folder: Path, shape: LlamaShape, dtype: str, args: argparse.Namespace) -> None:
        options = {**engine_options(args), "dtype": dtype}
        engine = Engine(
            EngineConfig(model=str(folder), prefix_cache=False, load_progress=False, linear=args.linear, **options)
        )
        names = ("dtype", "attention", "token_budget", "token_budget_reason")
        self.dtype = dtype
        self.facts = {name: getattr(engine.info, name) for name in names}
        self.ours = InProcessLoop(engine)
        self.theirs = StaticBatches(folder, getattr(torch, dtype), torch.device(engine.info.device))
        self.cells = [Cell(clients) for clients in args.clients]
        print(f"{dtype}: budget {engine.info.token_budget} ({engine.info.token_budget_reason})", flush=True)
        warm = _requests(shape, args, 1, seed=1)
        self.ours.run(warm, 1)
        self.theirs.run(warm, 1)
        self.shape = shape


def _take_turns(rivals: Sequence[Rivals], args: argparse.Namespace, deadline: float) -> None:
    """Rounds over all dtypes and cells, so that a disturbance does not hit only one. After the first round,
    a cell that would end past the deadline is left out, and smaller ones go on."""
    lasted: dict[tuple[str, int], float] = {}
    for repetition in range(args.repetitions):
        for pair in rivals:
            for position, cell in enumerate(pair.cells):
                began = time.monotonic()
                if began + lasted.get((pair.dtype, position), 0.0) > deadline and repetition:
                    continue
                count = REQUESTS_PER_RUN.get(cell.clients, 2 * cell.clients)
                requests = _requests(pair.shape, args, count, seed=100 * repetition + position)
                print(f"{pair.dtype}, ", end="")
                _run_cell(cell, pair.ours, pair.theirs, requests, ours_first=(repetition + position) % 2 == 0)
                lasted[pair.dtype, position] = time.monotonic() - began


def _requests(shape: LlamaShape, args: argparse.Namespace, count: int, *, seed: int) -> list[TokenRequest]:
    return random_requests(
        count,
        vocab_size=shape.vocab_size,
        prompt_tokens=args.prompt_tokens,
        output_tokens=args.output_tokens,
        seed=seed,
    )


def _run_cell(
    cell: Cell, ours: InProcessLoop, theirs: StaticBatches, requests: Sequence[TokenRequest], *, ours_first: bool
) -> None:
    our_answers: dict[int, list[int]] = {}
    their_answers: list[list[int]] = []

    def keep(record: RequestRecord, token_ids: list[int]) -> None:
        our_answers[record.index] = token_ids

    def run_ours() -> None:
        records = ours.run(
            requests, cell.clients, on_answer=lambda record, ids: our_answers.update({record.index: ids})
        )
        failures = [record.error for record in records if not record.ok]
        if failures:
            raise RuntimeError(f"{len(failures)} of our requests failed: {failures[0]}")
        tokens = sum(record.completion_tokens for record in records)
        cell.ours_tokens_per_second.append(tokens / duration_seconds(records))
        cell.records += records

    def run_theirs() -> None:
        began = time.perf_counter()
        their_answers.extend(theirs.run(requests, cell.clients))
        cell.theirs_tokens_per_second.append(sum(map(len, their_answers)) / (time.perf_counter() - began))

    for run in (run_ours, run_theirs) if ours_first else (run_theirs, run_ours):
        run()
    cell.compared_answers += len(requests)
    cell.identical_answers += sum(our_answers[index] == answer for index, answer in enumerate(their_answers))
    print(
        f"{cell.clients} clients: ours {cell.ours_tokens_per_second[-1]:.1f}, "
        f"transformers {cell.theirs_tokens_per_second[-1]:.1f} tokens/s",
        flush=True,
    )


PEER_COLUMNS = (
    "clients",
    "ours, tok/s",
    "transformers, tok/s",
    "ratio",
    "runs each",
    "our gap p50, ms",
    "our gap p99, ms",
    "our TTFT p50, ms",
    "same answers",
)


def peer_table(rows: Sequence[dict[str, Any]]) -> str:
    """One dtype's cells as a table."""
    cells = [
        [
            str(row["clients"]),
            figure(row["ours_tokens_per_second"]),
            figure(row["transformers_tokens_per_second"]),
            f"**{row['ratio']:.2f}**",
            str(len(row["ours_runs"])),
            figure(row["median_itl_ms"]),
            figure(row["p99_itl_ms"]),
            figure(row["median_ttft_ms"]),
            f"{row['identical_answers']}/{row['compared_answers']}",
        ]
        for row in rows
    ]
    return markdown_table(PEER_COLUMNS, cells)


def _markdown(document: dict[str, Any]) -> str:
    workload = document["workload"]
    parts = [
        f"# Ours against transformers: {workload['shape']}, "
        f"{workload['prompt_tokens']}/{workload['output_tokens']} tokens",
        f"Output tokens per second, medians of runs that took turns. transformers: static batches in lock-step, its "
        f"best case. Ours: a closed loop of as many clients, prefix cache off. Greedy, end-of-sequence ignored, "
        f"random weights, {workload['threads']} threads on both sides.",
    ]
    for dtype, rows in document["tables"].items():
        info = document["engines"][dtype]
        parts.append(
            f"## {dtype}\n\nAttention {info['attention']}, token budget {info['token_budget']} "
            f"({info['token_budget_reason']}).\n\n{peer_table(rows)}"
        )
    return "\n\n".join([*parts, provenance_lines(document)]) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
