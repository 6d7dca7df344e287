"""Alerts and dashboards ask for nothing that nobody publishes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from metric_names import problems, series

ROOT = Path(__file__).parents[2]
FILES = ROOT / "charts" / "fastgen-operator" / "files"
KNOWN = series()


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FILES / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panel_queries() -> Iterator[tuple[str, str]]:
    for path in sorted((FILES / "dashboards").glob("*.json")):
        dashboard = json.loads(path.read_text(encoding="utf-8"))
        for panel in dashboard["panels"]:
            for target in panel.get("targets", ()):
                yield f"{path.stem}: {panel['title']}: {target['refId']}", target["expr"]
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                inside = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"])
                assert inside is not None, variable
                yield f"{path.stem}: variable {variable['name']}", f"sum by ({inside[2]})({inside[1]})"


PANELS = list(panel_queries())


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: str(rule["alert"]))
def test_an_alert_asks_for_what_is_published(rule: dict[str, Any]) -> None:
    assert problems(rule["expr"], KNOWN) == []


@pytest.mark.parametrize("query", [query for _, query in PANELS], ids=[name for name, _ in PANELS])
def test_a_panel_asks_for_what_is_published(query: str) -> None:
    assert problems(query, KNOWN) == []


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: str(rule["alert"]))
def test_an_alert_says_how_bad_it_is_what_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "description"}
    text = " ".join(rule["annotations"].values())
    named = set(re.findall(r"\$labels\.(\w+)", text))
    assert named <= {"namespace", "pod", "fastgen_dev_deployment", "name", "reason"}
    unchecked = [text for text in rule["annotations"].values() if not text.endswith(".")]
    assert unchecked == []


def test_the_dashboards_are_current() -> None:
    script = ROOT / "tools" / "generate_dashboards.py"
    assert subprocess.run([sys.executable, script, "--check"], check=False).returncode == 0


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("rate(fastgen_no_such_total[5m])", ["nobody publishes fastgen_no_such_total"]),
        ('fastgen_engine_up{colour="red"} == 0', ["fastgen_engine_up has no label colour"]),
        ("sum by (colour)(fastgen_engine_up)", ["fastgen_engine_up has no label colour"]),
        ("1 + 1", ["asks for no series"]),
        (
            "fastgen_engine_up and on (pod) fastgen_gone > 0",
            ["nobody publishes fastgen_gone"],
        ),
    ],
)
def test_a_wrong_query_is_found(query: str, expected: list[str]) -> None:
    assert problems(query, KNOWN) == expected
