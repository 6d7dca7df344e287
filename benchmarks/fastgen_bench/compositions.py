"""The paper's comparison on our own engine: the same requests under the three compositions of a step.

    python -m fastgen_bench.compositions                          a GPU: Llama-2-7B shape; a CPU: 158 M
    python -m fastgen_bench.compositions --shape llama-9m --clients 1,4 --prompt-tokens 300 --output-tokens 30
    python -m fastgen_bench.compositions --plot benchmarks/results/2026-01-01-compositions.json

Random weights, prompts of 2600 and answers of 60 tokens on average (sigma 0.3 x mean), closed loop, in
process. Effective throughput is counted at 2, 4 and 6 tokens/s. Needs no network and no tokenizer.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import torch

from fastgen.config import CompositionName, EngineConfig
from fastgen.engine import Engine
from fastgen_bench.in_process import InProcessLoop, random_requests
from fastgen_bench.machine import provenance
from fastgen_bench.metrics import Summary, summarize
from fastgen_bench.report import POINT_COLUMNS, POINT_LEGEND, markdown_table, point_row, provenance_lines
from fastgen_bench.results import add_result_arguments, engine_options, fresh_measurements, numbers, save
from fastgen_bench.shapes import LlamaShape, random_llama, shape_named

COMPOSITIONS: tuple[CompositionName, ...] = get_args(CompositionName)


def main(words: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(words)
    if args.plot:
        document = json.loads(Path(args.plot).read_text(encoding="utf-8"))
        _plot(document, Path(args.plot).with_suffix(""))
        return 0
    cuda = torch.cuda.is_available() and args.device != "cpu"
    shape = shape_named(args.shape or ("llama-2-7b" if cuda else "llama-158m"))
    args.clients = args.clients or ([1, 2, 4, 8, 16, 32, 64] if cuda else [1, 2, 4, 8])
    if args.dtype == "auto" and cuda:
        args.dtype = "bfloat16"
    series: dict[str, list[Summary]] = {}
    engines: dict[str, Any] = {}
    folder = random_llama(shape, torch.bfloat16 if cuda else torch.float32)
    with provenance() as about, fresh_measurements():
        for composition in args.compositions:
            series[composition], engines[composition] = _measure(folder, shape, composition, args, cuda)
    workload = {
        "shape": shape.name,
        "parameters": shape.num_parameters,
        "prompt_tokens": args.prompt_tokens,
        "output_tokens": args.output_tokens,
        "sigma": 0.3,
        "load": "closed loop in process, greedy, ignore_eos, prefix cache off",
    }
    document = {"kind": "compositions", **about, "workload": workload, "engines": engines, "series": series}
    path = save(args, "compositions", document, _markdown(document))
    _plot(document, path.with_suffix(""))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fastgen_bench.compositions", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--shape", help="llama-2-7b (default with a GPU), llama-158m (default without), ...")
    parser.add_argument("--clients", type=numbers, help="closed loop sizes, such as 1,4,16")
    parser.add_argument("--compositions", type=lambda text: text.split(","), default=list(COMPOSITIONS))
    parser.add_argument("--prompt-tokens", type=int, default=2600, help="mean (default: 2600)")
    parser.add_argument("--output-tokens", type=int, default=60, help="mean (default: 60)")
    parser.add_argument("--requests", type=int, help="per point (default: 4 x clients + 32 on a GPU, 2 x + 4 on a CPU)")
    parser.add_argument("--max-seconds", type=float, default=60.0, help="per point, begin no more after (default: 60)")
    parser.add_argument("--plot", metavar="RESULT.json", help="only draw the plots of a saved result")
    add_result_arguments(parser)
    return parser


def _measure(
    folder: Path, shape: LlamaShape, composition: CompositionName, args: argparse.Namespace, cuda: bool
) -> tuple[list[Summary], dict[str, Any]]:
    """One composition's sweep, and what its engine settled on."""
    options = engine_options(args)
    if composition != "splitfuse":
        options["token_budget"] = None  # the context length, as the systems they stand for did
    engine = Engine(
        EngineConfig(model=str(folder), composition=composition, prefix_cache=False, load_progress=False, **options)
    )
    try:
        loop = InProcessLoop(engine)
        print(f"{composition}: budget {engine.info.token_budget} ({engine.info.token_budget_reason})", flush=True)
        points = []
        for clients in args.clients:
            count = args.requests or (4 * clients + 32 if cuda else 2 * clients + 4)
            requests = random_requests(
                count,
                vocab_size=shape.vocab_size,
                prompt_tokens=args.prompt_tokens,
                output_tokens=args.output_tokens,
                sigma=0.3,
                longest_tokens=engine.info.max_model_tokens,
            )
            loop.run(requests[: min(clients, 4)], clients, max_seconds=2.0)  # warm-up
            records = loop.run(requests, clients, max_seconds=args.max_seconds)
            label = f"{clients} client" + ("s" if clients > 1 else "")
            points.append({"label": label, **summarize(records, clients=clients)})
            print(
                "  " + "  ".join(f"{n}={v}" for n, v in zip(POINT_COLUMNS, point_row(points[-1]), strict=True)),
                flush=True,
            )
        return points, dataclasses.asdict(engine.info)
    finally:
        engine.close()
        del engine
        gc.collect()


def _markdown(document: dict[str, Any]) -> str:
    workload = document["workload"]
    parts = [
        f"# Compositions: {workload['shape']} shape, {workload['prompt_tokens']}/{workload['output_tokens']} tokens",
        f"Random weights, lengths normal with sigma 0.3 x mean, {workload['load']}.",
        f"{POINT_LEGEND}.",
    ]
    for name, points in document["series"].items():
        info = document["engines"][name]
        parts.append(
            f"## {name}\n\n{info['dtype']} on {info['device']}, attention {info['attention']}, "
            f"token budget {info['token_budget']} ({info['token_budget_reason']}).\n\n"
            + markdown_table(
                (*POINT_COLUMNS, "requests"), [[*point_row(point), str(point["num_prompts"])] for point in points]
            )
        )
    return "\n\n".join([*parts, provenance_lines(document)]) + "\n"


def _plot(document: dict[str, Any], stem: Path) -> None:
    """Both pictures beside the result; without matplotlib, say how to draw them later."""
    if importlib.util.find_spec("matplotlib") is None:
        print("matplotlib is not installed: no plots; draw them elsewhere with --plot RESULT.json")
        return
    from fastgen_bench.plots import plot_effective_throughput, plot_throughput_latency

    workload = document["workload"]
    subtitle = f"{workload['shape']} shape, {workload['prompt_tokens']}/{workload['output_tokens']} tokens"
    for draw, name in ((plot_throughput_latency, "latency"), (plot_effective_throughput, "effective")):
        print("wrote", draw(document["series"], stem.with_name(f"{stem.name}-{name}.png"), subtitle=subtitle))


if __name__ == "__main__":
    raise SystemExit(main())
