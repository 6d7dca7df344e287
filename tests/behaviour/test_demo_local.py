"""`make demo-local` does what the README says of it, from the first replica to the last plot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastgen.local_state import records

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_demonstration_succeeds_and_leaves_nothing_behind(tmp_path: Path) -> None:
    state = tmp_path / "state"
    done = subprocess.run(
        [sys.executable, "-m", "demo.local"],
        cwd=ROOT,
        env={**os.environ, "FASTGEN_STATE": str(state), "PYTHONPATH": str(ROOT / "tools"), "KEEP": ""},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "none failed" in done.stdout
    assert "The demonstration succeeded" in done.stdout
    assert not list(records(state))
    result = json.loads((ROOT / "demo-output" / "result.json").read_text())
    assert result["not_streamed"]["failed"] == 0
    assert result["not_streamed"]["completed"] > 0
    assert [point["max_concurrency"] for point in result["points"]] == [2, 4, 8]
    assert sum(point["effective_throughput"]["4"] for point in result["points"]) > 0
    for plot in ("throughput-latency.png", "effective-throughput.png"):
        assert f"demo-output/{plot}" in done.stdout
        assert (ROOT / "demo-output" / plot).read_bytes().startswith(b"\x89PNG")
