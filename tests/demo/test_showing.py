"""The table and the picture of a run, from rows as they were recorded."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from demo.cluster.observing import Observer, Place
from demo.cluster.offering import DOCUMENTS, Offering
from demo.cluster.plan import DOUBLING
from demo.cluster.plot import draw, main
from demo.cluster.recording import Recording, Row, SeenDecision
from demo.cluster.table import COLUMNS, LoadView, cells, plain_line

RECORDED = Path(__file__).with_name("scaling.json")
PLACE = Place(Path("kubeconfig"), "http://127.0.0.1:9090", "default", "llama", 4.0, 0.95)
UP = SeenDecision(9.0, 1, 2, "DemandAboveCapacity", "demand 3000 tokens/s")
ROWS = [
    Row(0.0),
    Row(2.0, desired=1, ready=1, offered_per_second=2.04, effective_per_second=2, attainment=0.98, reason="WithinBand"),
    Row(9.0, desired=2, ready=1, demand_tokens_per_second=3000.4, supply_tokens_per_second=4200, reason="AtMaximum"),
]


def shown(*, is_terminal: bool) -> str:
    console = Console(file=io.StringIO(), force_terminal=is_terminal, width=120, height=40, highlight=False)
    observer = Observer(PLACE)
    offering = Offering(DOUBLING, DOCUMENTS, url="http://llama", model="llama", proxy_url=None)
    with LoadView(console, observer, offering) as view:
        for row in ROWS:
            if row.seconds == UP.seconds:
                observer._decisions.add(UP)
            observer.rows.append(row)
            view.show(row)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_what_is_not_known_is_a_dash() -> None:
    assert cells(ROWS[0]) == ("0:00", "-/-", "-", "-", "-", "-", "-", "-")
    assert cells(ROWS[1]) == ("0:02", "1/1", "2.0", "2.0", "98%", "-", "-", "WithinBand")


def test_columns_stand_under_their_headings() -> None:
    heading = plain_line([name for name, _ in COLUMNS])
    line = plain_line(cells(ROWS[2]))
    for word in ("replicas", "demand", "supply"):
        assert line[heading.index(word) + len(word) - 1] != " "
    assert heading.index("the autoscaler says") == line.index("AtMaximum")


def test_elsewhere_than_in_a_terminal_a_line_now_and_then_and_each_decision_once() -> None:
    text = shown(is_terminal=False)
    assert "\x1b" not in text
    assert "0:00" in text
    assert "0:02" not in text, "too soon after the line before"
    assert "0:09" in text
    assert text.count("1 → 2 DemandAboveCapacity: demand 3000 tokens/s") == 1


def test_in_a_terminal_the_present_is_the_last_line_of_the_table() -> None:
    last = shown(is_terminal=True).split("people;")[-1]
    assert last.index("0:00") < last.index("0:09") < last.index("1 → 2 DemandAboveCapacity")


def test_a_recorded_run_becomes_a_picture(tmp_path: Path) -> None:
    assert main([str(RECORDED), str(tmp_path / "scaling.png")]) == 0
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")


def test_gaps_and_runs_without_decisions_can_be_drawn(tmp_path: Path) -> None:
    rows = (Row(0.0), Row(2.0, desired=1), Row(4.0, ready=1), Row(6.0))
    assert draw(Recording(0.95, rows, ()), tmp_path / "gaps.png").stat().st_size > 10_000


def test_nothing_cannot_be_drawn(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="0 rows"):
        draw(Recording(0.95, (), ()), tmp_path / "nothing.png")


def test_without_a_file_it_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "demo-output/scaling.json" in capsys.readouterr().err
