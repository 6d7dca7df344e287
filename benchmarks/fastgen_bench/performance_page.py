"""docs/performance.md's tables, from the newest results in benchmarks/results.

    python -m fastgen_bench.performance_page            rewrite the tables
    python -m fastgen_bench.performance_page --check    fail if they are not those of the results

Only what stands between `<!-- NAME:begin -->` and `<!-- NAME:end -->` is written; the words around stay.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fastgen_bench.report import POINT_COLUMNS, POINT_LEGEND, markdown_table, point_row, provenance_lines
from fastgen_bench.results import RESULTS

PAGE = RESULTS.parents[1] / "docs" / "performance.md"

Document = dict[str, Any]


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m fastgen_bench.performance_page", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the page is not current")
    args = parser.parse_args(words)
    if not args.check:
        write(PAGE, RESULTS)
        print(f"wrote {PAGE.name}")
        return 0
    if render(PAGE.read_text(encoding="utf-8") if PAGE.is_file() else "", RESULTS) == PAGE.read_text(encoding="utf-8"):
        return 0
    print("docs/performance.md is not current: python -m fastgen_bench.performance_page", file=sys.stderr)
    return 1


def write(page: Path, results: Path) -> None:
    """Rewrite `page` from the newest results; make it if it is missing."""
    page.parent.mkdir(parents=True, exist_ok=True)
    before = page.read_text(encoding="utf-8") if page.is_file() else ""
    page.write_text(render(before, results), encoding="utf-8")


def render(page: str, results: Path) -> str:
    """`page` with each block replaced by what the newest result of its kind says."""
    page = page or _SKELETON
    for name, block in BLOCKS.items():
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        if begin not in page:
            page = f"{page.rstrip()}\n\n{begin}\n{end}\n"
        path = newest(results, name)
        body = "Not measured yet." if path is None else block(json.loads(path.read_text(encoding="utf-8")), path)
        head, _, rest = page.partition(begin)
        _, _, tail = rest.partition(end)
        page = f"{head}{begin}\n{body}\n{end}{tail}"
    return page


def newest(results: Path, kind: str) -> Path | None:
    """The newest result of a kind: by the date in its name, then by name."""
    found = [path for path in results.glob("*.json") if json.loads(path.read_text(encoding="utf-8"))["kind"] == kind]
    return max(found, key=lambda path: path.name, default=None)


def _peers(document: Document, path: Path) -> str:
    from fastgen_bench.peers import peer_table

    tables = "\n\n".join(f"**{dtype}**\n\n{peer_table(rows)}" for dtype, rows in document["tables"].items())
    return f"{tables}\n\n{_source(document, path)}"


def _compositions(document: Document, path: Path) -> str:
    header = ("composition", *POINT_COLUMNS, "requests")
    rows = [
        [name, *point_row(point), str(point["num_prompts"])]
        for name, points in document["series"].items()
        for point in points
    ]
    return f"{markdown_table(header, rows)}\n\n{POINT_LEGEND}.\n\n{_source(document, path)}"


def _tricks(document: Document, path: Path) -> str:
    from fastgen_bench.tricks import trick_table

    return f"{trick_table(document['tricks'])}\n\n{_source(document, path)}"


def _source(document: Document, path: Path) -> str:
    workload = document["workload"]
    return (
        f"- Model: {workload['shape']}, {workload['parameters'] / 1e6:.0f} M parameters, random weights\n"
        f"{provenance_lines(document)}\n- Result: `benchmarks/results/{path.name}`"
    )


BLOCKS: dict[str, Callable[[Document, Path], str]] = {
    "peers": _peers,
    "tricks": _tricks,
    "compositions": _compositions,
}

_SKELETON = """# Performance

Every figure here was measured by a script of this repository; its machine, commit, command and load average
stand below it, and the whole result lies in `benchmarks/results/`. The tables are written by
`python -m fastgen_bench.performance_page`.

## Against transformers

`python -m fastgen_bench.peers`: output tokens per second of static `transformers` batches in lock-step (its best
case: nothing waits, all prompts are equally long) and of FastGen under a closed loop of as many clients, with the
same weights, dtype and threads, in one process, taking turns.

<!-- peers:begin -->
<!-- peers:end -->

## Each trick, on and off

`python -m fastgen_bench.tricks`: what makes FastGen faster, one thing at a time. Each has an off switch, named in
the table, and a test that answers are the same without it.

Dynamic SplitFuse pays where prompts arrive while others decode, which is what its row measures. Where all lengths are
equal and clients keep in step, no prompt ever meets a decode, and cutting prompts only adds steps.

<!-- tricks:begin -->
<!-- tricks:end -->

## How a step is filled

`python -m fastgen_bench.compositions`: the same requests under Dynamic SplitFuse and the two compositions it was
published against. Prompts of 2600 and answers of 60 tokens on average. A request is *effective* if its first token
came within prompt tokens / 512 s and the moving average of its gaps never reached 1/2, 1/4 or 1/6 s.

<!-- compositions:begin -->
<!-- compositions:end -->

## How to measure a server

`fastgen bench --url http://host:port` sends load to any OpenAI server: closed loop (`--clients 1,4,16`) or open loop
(`--rate 0.5,1,2`, Poisson arrivals). Metrics have vLLM's names and definitions; effective throughput is the paper's.
In an open loop every time counts from when the request was due, so a server that stalls cannot hide the queue it
causes; how late the generator itself was stands beside it (`send_delay`), and a generator that runs short of CPU
says so.
"""


if __name__ == "__main__":
    raise SystemExit(main())
