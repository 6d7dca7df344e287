"""A snapshot as a person reads it: a live table in a terminal, a plain line elsewhere."""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fastgen_server.local.observer import EffectiveRatio, ProcessNumbers, Snapshot

NOTHING = "–"
_STYLES = {"ready": "green", "starting": "yellow", "waiting": "red", "stopping": "yellow", "degraded": "red"}


def render(snapshot: Snapshot) -> RenderableType:
    """The live view."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("", "state", "pid", "address"):
        table.add_column(heading, no_wrap=True)
    for heading in ("running", "waiting", "KV used", "step fill", "budget", "tokens/s", "restarts"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in snapshot.replicas:
        table.add_row(*_cells(row))
    table.add_row(*_cells(snapshot.balancer))
    return Group(_title(snapshot), table, _load_line(snapshot), _effective_line(snapshot))


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


def _title(snapshot: Snapshot) -> Text:
    text = Text()
    text.append(snapshot.name, style="bold")
    text.append(f"  {snapshot.model}  ")
    text.append(snapshot.state, style=_STYLES.get(snapshot.state, ""))
    if snapshot.http:
        text.append(f"   http://{snapshot.http}/v1   grpc://{snapshot.grpc}")
    return text


def _cells(row: ProcessNumbers) -> list[RenderableType]:
    waits = f" {row.seconds_to_start:.0f} s" if row.seconds_to_start else ""
    return [
        row.name,
        Text(row.phase + waits, style=_STYLES.get(row.phase, "")),
        NOTHING if row.pid is None else str(row.pid),
        row.address or NOTHING,
        _number(row.running),
        _number(row.waiting),
        _percent(row.kv_use),
        _percent(row.step_fill),
        _number(row.token_budget),
        _number(row.tokens_per_second),
        str(row.restarts),
    ]


def _load_line(snapshot: Snapshot) -> Text:
    text = Text(f"{snapshot.requests} requests so far, {snapshot.requests_per_second:.1f}/s; ")
    text.append(
        f"{snapshot.tokens_per_second:.0f} tokens generated/s; {snapshot.held} held; {snapshot.retries} tried again"
    )
    return text


def _effective_line(snapshot: Snapshot) -> Text:
    text = Text("met their promise in the last minute (since start): ")
    if not any(ratio.since_start is not None for ratio in snapshot.effective):
        return text.append("no request has ended yet", style="dim")
    for index, ratio in enumerate(snapshot.effective):
        text.append("   " if index else "")
        text.append(_ratio(ratio), style=_ratio_style(ratio))
    return text


def _ratio(ratio: EffectiveRatio) -> str:
    return f"{_percent(ratio.lately)} ({_percent(ratio.since_start)}) at {ratio.generation_rate} tokens/s"


def _ratio_style(ratio: EffectiveRatio) -> str:
    shown = ratio.lately if ratio.lately is not None else ratio.since_start
    return "green" if shown is not None and shown >= 0.99 else "yellow" if shown is not None and shown >= 0.9 else "red"


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:,.0f}"


def _percent(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.0%}"
