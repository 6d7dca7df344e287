"""`make demo` does what the README says of it, with less load; and leaves nothing behind, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import eventually

from demo.cluster.recording import Recording
from demo.cluster.stage import processes_in
from fastgen_devcluster.state import cluster_folder

pytestmark = [pytest.mark.slow, pytest.mark.cluster]
ROOT = Path(__file__).parents[2]


def start(name: str, output: Path, *options: str) -> subprocess.Popen[str]:
    with output.open("w") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "demo.cluster", "--name", name, *options],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT / "tools"), "KEEP": ""},
            stdout=file,
            stderr=subprocess.STDOUT,
            text=True,
        )


@pytest.mark.timeout(500)
def test_the_demonstration_succeeds_and_leaves_nothing_behind(tmp_path: Path) -> None:
    name = f"demo-{os.getpid()}"
    output = tmp_path / "output"
    demo = start(name, output, "--short")
    try:
        status = demo.wait(450)
    finally:
        demo.terminate()
        demo.wait(60)
    text = output.read_text()
    assert status == 0, text[-8000:]
    for promised in (
        "fastgendeployment.fastgen.dev/llama created",
        "Ready=True Serving",
        "splits long prompts into chunks",
        "none failed",
        "objects are gone",
        "no process and no file is left",
        "The demonstration succeeded",
    ):
        assert promised in text
    recording = Recording.load(ROOT / "demo-output" / "scaling.json")
    steps = [decision.replicas - decision.previous for decision in recording.decisions]
    assert steps[0] > 0 > steps[-1]
    assert max(row.ready or 0 for row in recording.rows) >= 2
    assert recording.rows[-1].ready == recording.rows[-1].desired == 1
    assert (ROOT / "demo-output" / "scaling.png").read_bytes().startswith(b"\x89PNG")
    assert not cluster_folder(name).path.exists()


@pytest.mark.timeout(200)
def test_interrupted_it_ends_everything(tmp_path: Path) -> None:
    name = f"demo-stop-{os.getpid()}"
    output = tmp_path / "output"
    demo = start(name, output)
    folder = cluster_folder(name).path
    try:
        eventually(lambda: "created" in output.read_text(), 120)
        assert processes_in(folder)
        demo.send_signal(signal.SIGINT)
        assert demo.wait(60) == 130, output.read_text()[-4000:]
    finally:
        demo.kill()
        demo.wait(60)
    assert "interrupted; everything that was started has ended" in output.read_text()
    assert not folder.exists()
    eventually(lambda: not processes_in(folder))
