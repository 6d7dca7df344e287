"""The load and what follows from it, as a table that grows: live in a terminal, a line now and then elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from demo.cluster.observing import Observer
from demo.cluster.offering import Offering
from demo.cluster.recording import Row, SeenDecision, condition

LINE_SECONDS = 6.0
"""A line of the past is kept this often; the last line of a live table is always the present."""
LIVE_LINES = 14
# Heading, and the width it has on a plain line.
COLUMNS = (
    ("time", 6),
    ("replicas", 9),
    ("offered/s", 10),
    ("effective/s", 12),
    ("kept", 6),
    ("demand", 7),
    ("supply", 7),
    ("the autoscaler says", 0),
)
LEGEND = (
    "replicas: ready/desired. offered and effective: requests a second. kept: share of requests that met their "
    "promise, of late. demand and supply: tokens a second, as the autoscaler counts them."
)


def cells(row: Row) -> tuple[str, ...]:
    """The columns of one row."""
    return (
        f"{int(row.seconds) // 60}:{int(row.seconds) % 60:02d}",
        f"{_whole(row.ready)}/{_whole(row.desired)}",
        _figure(row.offered_per_second),
        _figure(row.effective_per_second),
        "-" if row.attainment is None else f"{row.attainment:.0%}",
        _whole(row.demand_tokens_per_second),
        _whole(row.supply_tokens_per_second),
        row.reason or "-",
    )


def plain_line(values: Sequence[str]) -> str:
    """Columns under each other without a table around them."""
    padded = (f"{value:>{width}}" if width else f"  {value}" for value, (_, width) in zip(values, COLUMNS, strict=True))
    return "".join(padded)


class LoadView:
    """Shows each row as it comes, and each decision once."""

    def __init__(self, console: Console, observer: Observer, offering: Offering) -> None:
        self._console, self._observer, self._offering = console, observer, offering
        self._kept: list[Row] = []
        self._told: set[SeenDecision] = set()
        self._live = Live(console=console, auto_refresh=False, transient=False) if console.is_terminal else None

    def __enter__(self) -> LoadView:
        self._console.print(LEGEND, style="dim", soft_wrap=not self._console.is_terminal)
        if self._live is not None:
            self._live.start()
        else:
            self._console.print(plain_line([heading for heading, _ in COLUMNS]), soft_wrap=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, row: Row) -> None:
        """The newest row."""
        is_due = not self._kept or row.seconds - self._kept[-1].seconds >= LINE_SECONDS
        if is_due:
            self._kept.append(row)
        if self._live is not None:
            self._live.update(self._picture(row), refresh=True)
            return
        if is_due:
            self._console.print(plain_line(cells(row)), markup=False, soft_wrap=True)
        for decision in self._observer.decisions:
            if decision not in self._told:
                self._told.add(decision)
                self._console.print(f"        → {decision.text}: {decision.message}", markup=False, soft_wrap=True)

    def _picture(self, row: Row) -> RenderableType:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for heading, width in COLUMNS:
            table.add_column(heading, justify="right" if width else "left", no_wrap=True)
        past = [one for one in self._kept[-LIVE_LINES:] if one is not row]
        for one in past:
            table.add_row(*cells(one), style="dim")
        table.add_row(*self._coloured(row))
        decisions = [Text(f"→ {one.text}: {one.message}", style="yellow") for one in self._observer.decisions[-4:]]
        return Group(self._load_line(), table, *decisions, Text(self._present_message(), style="cyan"))

    def _coloured(self, row: Row) -> list[str]:
        values = [escape(value) for value in cells(row)]
        if row.attainment is not None:
            colour = "green" if row.attainment >= self._observer.place.target else "red"
            values[4] = f"[{colour}]{values[4]}[/]"
        return [f"[bold]{value}[/]" for value in values]

    def _load_line(self) -> Text:
        tally = self._offering.tally
        line = f"{self._offering.people} people; {tally.answered} answered, {tally.in_flight} wait for their answer"
        return Text(f"{line}, {tally.failed} failed", style="bold")

    def _present_message(self) -> str:
        return str(condition(self._observer.deployment, "AutoscalingActive").get("message", ""))


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _whole(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
