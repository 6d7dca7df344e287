"""No process is left behind, and none is hit that is not ours."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from waiting import eventually

from fastgen.local_state import process_start_ticks
from fastgen_devcluster.processes import (
    FOLDER_VARIABLE,
    describe_status,
    end_process,
    kill_processes_of,
    log_tail,
    processes_of,
    signal_checked,
    start_process,
    wait_for_end,
)

SLEEP = [sys.executable, "-c", "import time; print('here', flush=True); time.sleep(300)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('here', flush=True); time.sleep(300)",
]
PARENT = """
import os, sys, time
from pathlib import Path
from fastgen_devcluster.processes import start_process
child = start_process(["sleep", "300"], log_path=Path(sys.argv[1]), environment=os.environ)
print(child.pid, flush=True)
time.sleep(300)
"""


def test_a_process_dies_with_its_parent_even_by_sigkill(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert process_start_ticks(child) is not None
        parent.kill()
    eventually(lambda: process_start_ticks(child) is None)


def test_who_ends_when_asked_is_not_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = start_process(SLEEP, log_path=log, environment=os.environ)
    eventually(lambda: "here" in log.read_text())
    assert end_process(process, grace_seconds=10)
    assert process.returncode == -signal.SIGTERM


def test_who_does_not_end_when_asked_is_killed_after_its_grace(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = start_process(STUBBORN, log_path=log, environment=os.environ)
    eventually(lambda: "here" in log.read_text())
    began = time.monotonic()
    assert not end_process(process, grace_seconds=0.3)
    assert 0.3 <= time.monotonic() - began < 5
    assert process.returncode == -signal.SIGKILL


def test_what_carries_the_mark_is_found_and_killed_whatever_its_ancestry(tmp_path: Path) -> None:
    marked = {**os.environ, FOLDER_VARIABLE: str(tmp_path)}
    # The shell ends at once and leaves its child to init.
    subprocess.run(["sh", "-c", "setsid sleep 300 & setsid sleep 300 &"], env=marked, check=True)
    other = start_process(
        SLEEP, log_path=tmp_path / "log", environment={**os.environ, FOLDER_VARIABLE: f"{tmp_path}-other"}
    )
    eventually(lambda: len(list(processes_of(tmp_path))) == 2)
    assert kill_processes_of(tmp_path) == 2
    assert list(processes_of(tmp_path)) == []
    assert other.poll() is None
    end_process(other, grace_seconds=5)


def test_a_process_that_started_at_another_time_is_not_signalled(tmp_path: Path) -> None:
    process = start_process(SLEEP, log_path=tmp_path / "log", environment=os.environ)
    ticks = process_start_ticks(process.pid)
    assert ticks is not None
    assert not signal_checked(process.pid, ticks - 1, signal.SIGKILL)
    assert process.poll() is None
    assert not wait_for_end(process.pid, ticks, timeout_seconds=0.05)
    assert wait_for_end(process.pid, ticks - 1, timeout_seconds=5)
    assert signal_checked(process.pid, ticks, signal.SIGKILL)
    assert wait_for_end(process.pid, ticks, timeout_seconds=10)
    process.wait()
    assert not signal_checked(process.pid, ticks, signal.SIGKILL)


def test_the_end_of_a_log_is_quoted(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("x" * 100_000 + "\n" + "".join(f"line {number}\n" for number in range(30)))
    assert log_tail(log, lines=2) == "    line 28\n    line 29"
    assert log_tail(tmp_path / "none") == ""
    log.write_text("y" * 1000)
    assert log_tail(log) == f"    {'y' * 400} ..."


@pytest.mark.parametrize(
    ("status", "words"), [(3, "ended with status 3"), (-9, "was killed by SIGKILL"), (-99, "was killed by signal 99")]
)
def test_an_exit_status_is_said_in_words(status: int, words: str) -> None:
    assert describe_status(status) == words
