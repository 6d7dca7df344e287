"""The picture of a run: load and promises, demand and supply, attainment, replicas, with one time axis.

python -m demo.cluster.plot demo-output/scaling.json [scaling.png]     draws a recording again
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator, PercentFormatter

from demo.cluster.recording import Recording, Row, SeenDecision
from fastgen_bench.plots import COLORS, DOTS_PER_INCH, INK, QUIET, STYLE

BLUE, VERMILION, GREEN = COLORS[:3]
ALARM = "#F4C7B4"
CALM = "#CFE3F1"
HEIGHTS = (3.0, 2.2, 1.7, 2.2)
SIZE_INCHES = (10.5, 9.6)
LATE = 0.75
"""Words of a decision in the last quarter stand to the left of its line, where there is room."""


def draw(recording: Recording, path: Path) -> Path:
    """Draw it into `path`, which is also returned. Raises ValueError where there is nothing to draw."""
    rows = recording.rows
    if len(rows) < 2:
        raise ValueError(f"{len(rows)} rows are no run; let the load run for a few seconds")
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=SIZE_INCHES, layout="constrained")
        panels = figure.subplots(4, 1, sharex=True, height_ratios=HEIGHTS)
        _requests(panels[0], rows)
        _tokens(panels[1], rows)
        _attainment(panels[2], rows, recording.target)
        _replicas(panels[3], rows)
        _decisions(panels, rows, recording.decisions)
        _time_axis(panels[3], rows)
        figure.suptitle("Replicas follow the load, by the promises kept", x=0.01, ha="left", weight="bold", size=14)
        figure.supxlabel(_provenance(recording), x=0.01, ha="left", size=8.5, color=QUIET)
        path.parent.mkdir(parents=True, exist_ok=True)
        FigureCanvasAgg(figure)
        figure.savefig(path, dpi=DOTS_PER_INCH, facecolor="white")
    return path


def _requests(axes: Axes, rows: Sequence[Row]) -> None:
    x = [row.seconds for row in rows]
    offered = [row.offered_per_second or 0.0 for row in rows]
    effective = [row.effective_per_second or 0.0 for row in rows]
    axes.fill_between(x, effective, offered, where=None, color=ALARM, linewidth=0, zorder=1)
    axes.fill_between(x, 0, effective, color=CALM, linewidth=0, zorder=2)
    axes.plot(x, offered, color=VERMILION, label="offered", zorder=3)
    axes.plot(x, effective, color=BLUE, label="effective: kept the promise", zorder=3)
    _panel(axes, "Requests per second")
    _legend(axes)


def _tokens(axes: Axes, rows: Sequence[Row]) -> None:
    demand = [(row.seconds, row.demand_tokens_per_second) for row in rows]
    supply = [(row.seconds, row.supply_tokens_per_second) for row in rows]
    _line(axes, demand, color=VERMILION, label="demand: what arrives, and waits")
    _line(axes, supply, color=GREEN, steps=True, label="supply: what the replicas asked for can do in time")
    _panel(axes, "Tokens per second")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1000:g}k" if value else "0"))
    _legend(axes)


def _attainment(axes: Axes, rows: Sequence[Row], target: float) -> None:
    seen = [(row.seconds, row.attainment_seen) for row in rows]
    now = [(row.seconds, row.attainment) for row in rows]
    axes.axhline(target, color=QUIET, linewidth=1.0, linestyle=(0, (4, 3)))
    _line(axes, now, color=COLORS[5], width=1.2, label="last 10 s")
    _line(axes, seen, color=BLUE, label="as the autoscaler sees it")
    _panel(axes, "Promises kept")
    axes.set_ylim(0, 1.06)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.annotate(
        f"target {target:.0%}", (1, target), xycoords=("axes fraction", "data"), xytext=(0, -3), size=9,
        textcoords="offset points", ha="right", va="top", color=QUIET,
    )  # fmt: skip
    _legend(axes)


def _replicas(axes: Axes, rows: Sequence[Row]) -> None:
    x = [row.seconds for row in rows]
    ready = [row.ready or 0 for row in rows]
    axes.fill_between(x, 0, ready, step="post", color=CALM, linewidth=0, label="ready")
    axes.step(x, ready, where="post", color=BLUE, linewidth=1.4)
    _line(axes, [(row.seconds, row.desired) for row in rows], color=INK, steps=True, width=1.4, dashed=True,
          label="desired")  # fmt: skip
    _panel(axes, "Replicas")
    axes.set_ylim(0, max([*ready, *(row.desired or 0 for row in rows)]) + 1.4)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(axes)


def _decisions(panels: Sequence[Axes], rows: Sequence[Row], decisions: Sequence[SeenDecision]) -> None:
    """A line through all panels for each; in words above the replicas, where the line is."""
    lowest = panels[-1]
    top = lowest.get_ylim()[1]
    for position, decision in enumerate(decisions):
        for axes in panels:
            axes.axvline(decision.seconds, color=QUIET, linewidth=0.9, linestyle=":", zorder=1)
        is_late = decision.seconds > rows[0].seconds + LATE * (rows[-1].seconds - rows[0].seconds)
        lowest.annotate(
            decision.text,
            (decision.seconds, top * (0.93 - 0.1 * (position % 3))),
            xytext=(-4 if is_late else 4, 0),
            textcoords="offset points",
            size=8.5,
            color=INK,
            ha="right" if is_late else "left",
            va="center",
            bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.85},
        )


def _line(
    axes: Axes,
    points: Sequence[tuple[float, float | None]],
    *,
    color: str,
    label: str,
    steps: bool = False,
    width: float = 2.0,
    dashed: bool = False,
) -> None:
    """What is not known is a gap, never a zero."""
    axes.plot(
        [x for x, _ in points],
        [float("nan") if y is None else y for _, y in points],
        color=color,
        label=label,
        linewidth=width,
        drawstyle="steps-post" if steps else "default",
        linestyle=(0, (4, 2)) if dashed else "solid",
        zorder=3,
    )


def _panel(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=10.5, pad=6)
    axes.set_ylim(bottom=0)
    axes.margins(x=0)


def _legend(axes: Axes) -> None:
    """Beside the title, where no line can be."""
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1.0, 0.98), ncols=2, handlelength=1.6, fontsize=9.5)


def _time_axis(axes: Axes, rows: Sequence[Row]) -> None:
    axes.set_xlim(rows[0].seconds, rows[-1].seconds)
    axes.xaxis.set_major_locator(MultipleLocator(30))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: f"{int(seconds) // 60}:{int(seconds) % 60:02d}"))


def _provenance(recording: Recording) -> str:
    about = recording.about
    if not about:
        return ""
    hardware = about["hardware"]
    machine = f"{hardware['cpu']}, {hardware['cores']} cores"
    return f"make demo · {about['date']} · commit {about['commit'] or 'unknown'} · {machine}"


def main(words: Sequence[str]) -> int:
    """Draw a recording; the exit status."""
    if not 1 <= len(words) <= 2:
        print(__doc__, file=sys.stderr)
        return 2
    source = Path(words[0])
    target = Path(words[1]) if len(words) == 2 else source.with_suffix(".png")
    print(f"wrote {draw(Recording.load(source), target)}, drawn from {source}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
