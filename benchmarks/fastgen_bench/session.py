"""One `fastgen bench` from the first point to the written results."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table

from fastgen_bench.config import LoadConfig
from fastgen_bench.load import LoadResult, Progress, run_load
from fastgen_bench.machine import provenance
from fastgen_bench.metrics import Summary, details, summarize_load
from fastgen_bench.openai_client import ServerUnreachableError
from fastgen_bench.report import POINT_COLUMNS, POINT_LEGEND, point_row, write_json

FAILED = 1
INTERRUPTED = 130


def run_session(sweep: Sequence[LoadConfig], args: argparse.Namespace) -> int:
    """Measure each point, print the table, write the files, which also happens when the server disappears
    or Ctrl-C comes. 0; 1 when the server was lost or nothing succeeded; 130 after Ctrl-C."""
    console = Console()
    folder = Path(args.output or f"bench-results/{datetime.now():%Y-%m-%d-%H%M%S}")
    points: list[Summary] = []
    interrupted = lost = False
    with provenance() as about:
        for config in sweep:
            try:
                result = measure_with_bar(config, console)
            except ServerUnreachableError as error:
                if not points:
                    raise
                console.print(f"[red]{config.label}: {escape(str(error))}[/]; writing what was measured before")
                lost = True
                break
            points.append(summarize_load(result) | ({} if args.no_details else details(result.records)))
            if warning := result.generator.warning:
                console.print(f"[yellow]{config.label}: {warning}[/]")
            interrupted = result.interrupted
            if interrupted:
                console.print("[yellow]interrupted; writing what was measured[/]")
                break
    measured = [point for point in points if point["num_prompts"]]
    if not measured:
        console.print("no request ended before the interruption: nothing to write")
        return INTERRUPTED
    console.print(point_table(measured))
    for point in measured:
        _print_errors(point, console)
    workload = dataclasses.asdict(sweep[0])
    del workload["clients"], workload["rate"]
    paths = [write_json(folder / "result.json", {"kind": "load", **about, "workload": workload, "points": measured})]
    if not args.no_plots:
        from fastgen_bench.plots import plot

        paths += plot({measured[0]["model_id"]: measured}, folder, subtitle=args.title)
    for path in paths:
        console.print(f"wrote {path}", soft_wrap=True, highlight=False)
    if interrupted:
        return INTERRUPTED
    return 0 if not lost and any(point["completed"] for point in measured) else FAILED


def measure_with_bar(config: LoadConfig, console: Console) -> LoadResult:
    """`run_load` with a progress bar that shows rate and failures."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:>12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}"),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=console, transient=not console.is_terminal) as bar:
        task = bar.add_task(config.label, total=config.max_requests, figures="warming up")
        return run_load(config, lambda progress: _show(bar, task, progress))


def _show(bar: Bar, task: TaskID, progress: Progress) -> None:
    elapsed = max(progress.elapsed_seconds, 1e-9)
    failed = f"  [red]{progress.failed} failed[/]" if progress.failed else ""
    figures = (
        f"{(progress.done - progress.failed) / elapsed:.2f} req/s  {progress.output_tokens / elapsed:.0f} tok/s{failed}"
    )
    bar.update(task, completed=progress.done, figures=figures)


def point_table(points: Sequence[Summary]) -> Table:
    """The sweep as people read it."""
    table = Table(box=None, header_style="bold", padding=(0, 0, 0, 1), caption=POINT_LEGEND, caption_justify="left")
    for position, name in enumerate(POINT_COLUMNS):
        table.add_column(name.replace(" ", "\n"), justify="left" if position == 0 else "right", no_wrap=position == 0)
    for point in points:
        table.add_row(*point_row(point))
    return table


def _print_errors(point: Summary, console: Console) -> None:
    for error, count in point["errors_by_kind"].items():
        console.print(f"[red]{point['label']}: {count} failed:[/] {escape(error)}", highlight=False)
