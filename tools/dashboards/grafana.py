"""The little of Grafana's dashboard model that ours need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

Json = dict[str, Any]

COLUMNS = 24
HEIGHT = 8
SCHEMA_VERSION = 39
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


class Series(NamedTuple):
    """One query of a panel, and what its lines are called."""

    query: str
    legend: str = ""


class Panel(NamedTuple):
    """One graph, or one number (`is_number`)."""

    title: str
    description: str
    series: Sequence[Series]
    unit: str = "short"
    """Grafana's name of it: s, percentunit, bytes, reqps, short."""
    width: int = 8
    is_number: bool = False
    minimum: float | None = 0
    maximum: float | None = None


class Row(NamedTuple):
    title: str
    panels: Sequence[Panel]


class Variable(NamedTuple):
    """Something to choose at the top: values of a label."""

    name: str
    title: str
    query: str


class Dashboard(NamedTuple):
    uid: str
    title: str
    description: str
    variables: Sequence[Variable]
    rows: Sequence[Row]


def to_json(dashboard: Dashboard) -> Json:
    """As Grafana imports it, or its sidecar finds it in a ConfigMap."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": ["fastgen"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_source(), *map(_variable, dashboard.variables)]},
        "panels": _panels(dashboard.rows),
    }


def _source() -> Json:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _variable(variable: Variable) -> Json:
    return {
        "name": variable.name,
        "label": variable.title,
        "type": "query",
        "datasource": SOURCE,
        "definition": variable.query,
        "query": {"query": variable.query, "refId": variable.name},
        "refresh": 2,
        "sort": 1,
    }


def _panels(rows: Sequence[Row]) -> list[Json]:
    """Rows one under the other; panels from the left, and on the next line where there is no room."""
    found: list[Json] = []
    top = 0
    for row in rows:
        found.append({**_place(len(found) + 1, 0, top, COLUMNS, 1), "type": "row", "title": row.title, "panels": []})
        top, left = top + 1, 0
        for panel in row.panels:
            if left + panel.width > COLUMNS:
                top, left = top + HEIGHT, 0
            found.append({**_place(len(found) + 1, left, top, panel.width, HEIGHT), **_panel(panel)})
            left += panel.width
        top += HEIGHT
    return found


def _place(number: int, left: int, top: int, width: int, height: int) -> Json:
    return {"id": number, "gridPos": {"x": left, "y": top, "w": width, "h": height}}


def _panel(panel: Panel) -> Json:
    limits = {"min": panel.minimum, "max": panel.maximum}
    return {
        "type": "stat" if panel.is_number else "timeseries",
        "title": panel.title,
        "description": panel.description,
        "datasource": SOURCE,
        "fieldConfig": {
            "defaults": {"unit": panel.unit, **{name: value for name, value in limits.items() if value is not None}},
            "overrides": [],
        },
        "options": {} if panel.is_number else {"legend": {"showLegend": True}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": SOURCE, "expr": series.query, "legendFormat": series.legend}
            for index, series in enumerate(panel.series)
        ],
    }
