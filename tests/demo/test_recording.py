"""What the demonstration saw is kept as it was, and told without inventing anything."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from demo.cluster.observing import Place, number, queries
from demo.cluster.recording import Recording, Row, SeenDecision, capacity, condition, decisions_of, row_of

BEGAN = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
PLACE = Place(Path("kubeconfig"), "http://127.0.0.1:9090", "here", "llama", 4.0, 0.95)


def decision(seconds: int, replicas: int) -> dict[str, object]:
    time = (BEGAN + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")
    return {
        "time": time,
        "previousReplicas": replicas - 1,
        "replicas": replicas,
        "reason": "DemandAboveCapacity",
        "message": "demand 3000 tokens/s",
    }


LIVE = {
    "spec": {"replicas": 3},
    "status": {
        "readyReplicas": 2,
        "autoscaling": {"capacityTokensPerSecond": 2100, "decisions": [decision(40, 3), decision(12, 2)]},
        "conditions": [
            {"type": "Ready", "status": "True", "reason": "Serving", "message": "2 of 3 ready"},
            {"type": "AutoscalingActive", "status": "True", "reason": "WithinBand", "message": "right"},
        ],
    },
}


def test_a_row_has_what_the_api_server_and_prometheus_said() -> None:
    row = row_of(3.5, LIVE, {"offered_per_second": 4.0, "attainment": None})
    assert row == Row(3.5, desired=3, ready=2, offered_per_second=4.0, reason="WithinBand")


def test_what_is_not_there_yet_is_not_known() -> None:
    assert row_of(0.0, {}, {}) == Row(0.0)
    assert row_of(0.0, {"spec": {"replicas": 1}, "status": {}}, {}) == Row(0.0, desired=1)
    assert capacity({}) is None
    assert condition({}, "Ready") == {}


def test_decisions_carry_the_time_since_the_beginning() -> None:
    found = sorted(decisions_of(LIVE, BEGAN))
    assert [(one.seconds, one.text) for one in found] == [
        (12.0, "1 → 2 DemandAboveCapacity"),
        (40.0, "2 → 3 DemandAboveCapacity"),
    ]
    assert decisions_of(LIVE, BEGAN) == decisions_of(LIVE, BEGAN), "seen twice, gathered once"


def test_a_recording_is_read_as_it_was_written(tmp_path: Path) -> None:
    about = {"date": "2026-01-01", "commit": None}
    rows = (Row(0.0), Row(2.0, desired=2, ready=1, attainment=0.5, reason="WithinBand"))
    recording = Recording(0.95, rows, (SeenDecision(1.0, 1, 2, "DemandAboveCapacity", "much"),), about)
    assert Recording.load(recording.save(tmp_path / "scaling.json")) == recording


def test_another_file_is_no_recording(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text('{"kind": "demo"}')
    with pytest.raises(ValueError, match="make demo"):
        Recording.load(path)


def test_every_question_fills_a_column_of_a_row_and_asks_for_this_deployment_only() -> None:
    asked = queries(PLACE)
    assert set(asked) <= {field.name for field in dataclasses.fields(Row)}
    for query in asked.values():
        assert query.count('namespace="here"') == query.count("{") == query.count('="llama"')


def test_no_series_and_no_number_are_not_zero() -> None:
    def answer(*values: str) -> dict[str, object]:
        return {"data": {"result": [{"value": [0, value]} for value in values]}}

    assert number(answer("4.5")) == 4.5
    assert number(answer("0")) == 0.0
    assert number(answer()) is None
    assert number(answer("NaN")) is None
    assert number({"status": "error"}) is None
