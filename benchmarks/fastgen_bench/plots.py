"""Two pictures of a sweep. Lines carry their own names, so there is no legend to look up; every axis has
its unit; colours are those of Okabe and Ito, told apart with any colour vision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fastgen_bench.metrics import Summary

Series = Mapping[str, Sequence[Summary]]
"""By name (a system, a composition): the points of its sweep, in order of load."""

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
INK = "#222222"
QUIET = "#767676"
STYLE: Any = {
    "font.size": 10.5,
    "font.family": "sans-serif",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": QUIET,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.8,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 2.0,
    "lines.markersize": 6.0,
}
DOTS_PER_INCH = 150


def plot(series: Series, folder: Path, *, subtitle: str = "") -> list[Path]:
    """Both pictures into `folder`; their paths. Points without streaming give only the first."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [plot_throughput_latency(series, folder / "throughput-latency.png", subtitle=subtitle)]
    points = [point for one in series.values() for point in one]
    if any(value is not None for point in points for value in point["effective_throughput"].values()):
        paths.append(plot_effective_throughput(series, folder / "effective-throughput.png", subtitle=subtitle))
    return paths


def plot_throughput_latency(series: Series, path: Path, *, subtitle: str = "") -> Path:
    """Mean end-to-end latency against requests per second; each mark is one load."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.6), layout="constrained")
        axes = figure.subplots()
        for index, (name, points) in enumerate(series.items()):
            measured = [point for point in points if point["mean_e2el_ms"] is not None]
            x = [point["request_throughput"] for point in measured]
            y = [point["mean_e2el_ms"] / 1000.0 for point in measured]
            _line(axes, x, y, index, label=name)
            for point, at_x, at_y in zip(measured, x, y, strict=True) if index == 0 else ():
                _note(axes, point["label"], at_x, at_y, offset=(7, -12), color=QUIET, size=8.5)
            if len(series) > 1 and measured:
                _note(axes, name, x[-1], y[-1], offset=(7, 4), color=COLORS[index % len(COLORS)], size=10)
        axes.set_xlabel("Throughput (requests/s)")
        axes.set_ylabel("Mean latency, request to last token (s)")
        _finish(axes, "Latency against throughput", subtitle)
        return _save(figure, path)


def plot_effective_throughput(series: Series, path: Path, *, subtitle: str = "") -> Path:
    """Requests per second that kept the promise, against load: one panel for one system (a line per
    promised rate), or a panel per promised rate with a line per system."""
    with mpl.rc_context(STYLE):
        figure = (_effective_one if len(series) == 1 else _effective_many)(series, subtitle)
        return _save(figure, path)


def _effective_one(series: Series, subtitle: str) -> Figure:
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    axes = figure.subplots()
    (points,) = series.values()
    labels = [point["label"] for point in points]
    where = range(len(points))
    total = [point["request_throughput"] for point in points]
    ends = [("all answered", total[-1], QUIET)]
    axes.plot(where, total, color=QUIET, linestyle=(0, (4, 3)), linewidth=1.4)
    for index, rate in enumerate(points[0]["effective_throughput"]):
        values = [point["effective_throughput"][rate] for point in points]
        _line(axes, where, values, index)
        ends.append((f"at {rate} tokens/s", values[-1], COLORS[index % len(COLORS)]))
    _load_axis(axes, labels)
    axes.set_ylabel("Effective throughput (requests/s)")
    _finish(axes, "Requests that kept their promise", subtitle)
    _label_ends(axes, len(points) - 1, ends)
    return figure


def _effective_many(series: Series, subtitle: str) -> Figure:
    first = next(iter(series.values()))
    rates = list(first[0]["effective_throughput"])
    figure = Figure(figsize=(3.9 * len(rates), 4.2), layout="constrained")
    panels = figure.subplots(1, len(rates), sharey=True, squeeze=False)[0]
    for axes, rate in zip(panels, rates, strict=True):
        for index, (name, points) in enumerate(series.items()):
            values = [point["effective_throughput"][rate] for point in points]
            _line(axes, range(len(points)), values, index, label=name)
        _load_axis(axes, [point["label"] for point in first])
        _finish(axes, "", "")
        axes.set_title(f"{rate} tokens/s promised", fontsize=10.5, weight="normal")
    panels[0].set_ylabel("Effective throughput (requests/s)")
    panels[0].legend(frameon=False, loc="upper left", fontsize=9.5, handlelength=1.6)
    title = "Requests that kept their promise" + (f": {subtitle}" if subtitle else "")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, weight="bold")
    return figure


def _load_axis(axes: Axes, labels: Sequence[str]) -> None:
    """Loads as steps of equal width: 1, 4 and 16 clients stand side by side."""
    open_loop = all(label.endswith("/s") for label in labels)
    numbers = [label.removesuffix("/s") if open_loop else label.split(" ")[0] for label in labels]
    axes.set_xticks(range(len(labels)), numbers)
    axes.set_xlabel("Offered load (requests/s, Poisson arrivals)" if open_loop else "Clients (closed loop)")
    axes.margins(x=0.06)


def _line(axes: Axes, x: Sequence[float], y: Sequence[float], index: int, *, label: str = "") -> None:
    axes.plot(
        x,
        y,
        color=COLORS[index % len(COLORS)],
        marker=MARKERS[index % len(MARKERS)],
        markeredgecolor="white",
        markeredgewidth=0.9,
        label=label,
        clip_on=False,
        zorder=3,
    )


def _note(axes: Axes, text: str, x: float, y: float, *, offset: tuple[int, int], color: str, size: float) -> None:
    axes.annotate(text, (x, y), xytext=offset, textcoords="offset points", color=color, fontsize=size)


def _label_ends(axes: Axes, x: float, ends: Sequence[tuple[str, float, str]]) -> None:
    """Names at the lines' right ends, pushed apart where they would overlap."""
    top = axes.get_ylim()[1]
    least = 0.062 * top
    placed = float("-inf")
    for text, y, color in sorted(ends, key=lambda end: end[1]):
        placed = max(y, placed + least)
        axes.annotate(
            text,
            (x, placed),
            xytext=(10, 0),
            textcoords="offset points",
            color=color,
            va="center",
            annotation_clip=False,
        )


def _finish(axes: Axes, title: str, subtitle: str) -> None:
    axes.set_ylim(bottom=0)
    axes.set_title(title, pad=26 if subtitle else 12)
    if subtitle:
        axes.text(0, 1.03, subtitle, transform=axes.transAxes, fontsize=9.5, color=QUIET)


def _save(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=DOTS_PER_INCH, facecolor="white")
    return path
