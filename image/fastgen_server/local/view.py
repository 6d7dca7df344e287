"""A snapshot as a person reads it: a live table in a terminal, a plain line elsewhere."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fastgen_server.local.observer import EffectiveRatio, ProcessNumbers, Snapshot

NOTHING = "–"
_STYLES = {"ready": "green", "starting": "yellow", "waiting": "red", "stopping": "yellow", "degraded": "red"}


def render(snapshot: Snapshot) -> RenderableType:
    """The live view; it fits 80 columns."""
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    for heading in ("", "state", "pid", "port"):
        table.add_column(heading, no_wrap=True)
    for heading in ("runs", "waits", "KV", "step fill", "tok/s", "deaths"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in snapshot.replicas:
        table.add_row(*_cells(row))
    return Group(*_title(snapshot), Text(), table, Text(), _load_line(snapshot), *_effective_lines(snapshot))


def plain_line(snapshot: Snapshot) -> str:
    """The same in one line, for logs."""
    ready = sum(row.phase == "ready" for row in snapshot.replicas)
    fills = [row.step_fill for row in snapshot.replicas if row.step_fill is not None]
    parts = [
        f"{snapshot.name} {snapshot.state}: {ready}/{len(snapshot.replicas)} replicas",
        f"running {sum(row.running or 0 for row in snapshot.replicas):g}",
        f"waiting {sum(row.waiting or 0 for row in snapshot.replicas) + snapshot.held:g}",
        f"step fill {_percent(sum(fills) / len(fills) if fills else None)}",
        f"{snapshot.requests_per_second:.1f} requests/s",
        f"{snapshot.tokens_per_second:.0f} generated tokens/s",
        f"restarts {sum(row.restarts for row in snapshot.replicas) + snapshot.balancer.restarts}",
    ]
    if any(ratio.lately is not None for ratio in snapshot.effective):
        parts.append(
            "effective " + ", ".join(f"{_percent(r.lately)} at {r.generation_rate}/s" for r in snapshot.effective)
        )
    return " · ".join(parts)


def _title(snapshot: Snapshot) -> list[Text]:
    text = Text(snapshot.name, style="bold")
    text.append(f"  {snapshot.model}  ", style="not bold")
    text.append(snapshot.state, style=_STYLES.get(snapshot.state, ""))
    balancer = Text(f"balancer {_state(snapshot.balancer)}")
    if snapshot.http:
        balancer.append(f"   http://{snapshot.http}/v1   grpc://{snapshot.grpc}")
    return [text, balancer]


def _cells(row: ProcessNumbers) -> list[RenderableType]:
    budget = "" if row.token_budget is None else f" of {row.token_budget:.0f}"
    return [
        row.name,
        Text(_state(row), style=_STYLES.get(row.phase, "")),
        NOTHING if row.pid is None else str(row.pid),
        row.address.rpartition(":")[2] or NOTHING,
        _number(row.running),
        _number(row.waiting),
        _percent(row.kv_use),
        _percent(row.step_fill) + budget,
        _number(row.tokens_per_second),
        str(row.restarts),
    ]


def _state(row: ProcessNumbers) -> str:
    return f"back in {row.seconds_to_start:.0f} s" if row.phase == "waiting" and row.restarts else row.phase


def _load_line(snapshot: Snapshot) -> Text:
    return Text(
        f"{snapshot.requests} requests so far, {snapshot.requests_per_second:.1f}/s; "
        f"{snapshot.tokens_per_second:.0f} tokens generated/s; {snapshot.held} held; {snapshot.retries} tried again"
    )


def _effective_lines(snapshot: Snapshot) -> list[Text]:
    if not any(ratio.since_start is not None for ratio in snapshot.effective):
        return [Text("no request has ended yet", style="dim")]
    lines = [Text("met their promise in the last minute (since start)")]
    for ratio in snapshot.effective:
        shown = f"{_percent(ratio.lately):>6} ({_percent(ratio.since_start)}) at {ratio.generation_rate} tokens/s"
        lines.append(Text(shown, style=_ratio_style(ratio)))
    return lines


def _ratio_style(ratio: EffectiveRatio) -> str:
    shown = ratio.lately if ratio.lately is not None else ratio.since_start
    return "green" if shown is not None and shown >= 0.99 else "yellow" if shown is not None and shown >= 0.9 else "red"


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:,.0f}"


def _percent(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.0%}"
