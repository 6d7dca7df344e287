"""What is written down about deployments is believed only as far as the kernel agrees."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import eventually

from fastgen.errors import FastGenError, UsageError
from fastgen.local_state import (
    DeploymentRecord,
    StateLock,
    check_name,
    forget,
    is_locked,
    process_start_ticks,
    read_record,
    record_path,
    records,
    state_root,
    terminate,
    write_atomically,
)


def record_of(pid: int, name: str = "llama") -> DeploymentRecord:
    return DeploymentRecord(
        name=name,
        model="hf://org/model",
        pid=pid,
        started_ticks=process_start_ticks(pid) or 0,
        started_unix_seconds=time.time(),
        replicas=2,
        state="ready",
        http="127.0.0.1:1",
        grpc="127.0.0.1:2",
    )


def write(record: DeploymentRecord, folder: Path) -> None:
    write_atomically(record_path(folder), record.to_json())


HOLDER = """
import sys, time
from pathlib import Path
from fastgen.local_state import StateLock
lock = StateLock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds tmp_path/llama as a supervisor does."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "llama")], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    write(record_of(process.pid), tmp_path / "llama")
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_live_supervisor_is_believed(tmp_path: Path, holder: subprocess.Popen[bytes]) -> None:
    found = read_record(tmp_path / "llama")
    assert found is not None
    assert (found.pid, found.state) == (holder.pid, "ready")
    assert [record.name for _, record in records(tmp_path)] == ["llama"]
    with pytest.raises(UsageError, match="'llama' is running already"):
        StateLock(tmp_path / "llama")


def test_a_dead_supervisor_is_not(tmp_path: Path, holder: subprocess.Popen[bytes]) -> None:
    holder.kill()
    holder.wait()
    found = read_record(tmp_path / "llama")
    assert found is not None
    assert found.state == "stale"
    assert terminate(tmp_path / "llama") is False
    assert read_record(tmp_path / "llama") is None
    assert not is_locked(tmp_path / "llama")


def test_a_pid_that_someone_else_has_now_is_never_signalled(tmp_path: Path, holder: subprocess.Popen[bytes]) -> None:
    stranger = dataclasses.replace(record_of(holder.pid), started_ticks=1)
    write(stranger, tmp_path / "llama")
    assert terminate(tmp_path / "llama") is False
    assert holder.poll() is None


def test_a_supervisor_is_ended_and_waited_for(tmp_path: Path, holder: subprocess.Popen[bytes]) -> None:
    assert terminate(tmp_path / "llama", timeout_seconds=10) is True
    eventually(lambda: holder.poll() is not None)
    assert terminate(tmp_path / "llama") is False


def test_one_that_takes_too_long_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + HOLDER
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "llama")], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        write(record_of(process.pid), tmp_path / "llama")
        with pytest.raises(FastGenError, match=f"kill -9 {process.pid}"):
            terminate(tmp_path / "llama", timeout_seconds=0.2)
    finally:
        process.kill()
        process.communicate()


def test_a_damaged_record_says_so(tmp_path: Path) -> None:
    (tmp_path / "llama").mkdir()
    (tmp_path / "llama" / "deployment.json").write_text("{")
    with pytest.raises(FastGenError, match="is damaged"):
        read_record(tmp_path / "llama")


def test_forgetting_keeps_the_logs(tmp_path: Path) -> None:
    write(record_of(os.getpid()), tmp_path)
    (tmp_path / "replica-0.log").write_text("why it died")
    forget(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["replica-0.log"]


def test_a_record_of_a_later_version_is_understood(tmp_path: Path) -> None:
    write(record_of(os.getpid()), tmp_path)
    text = (tmp_path / "deployment.json").read_text().replace("{", '{"more": 1,', 1)
    (tmp_path / "deployment.json").write_text(text)
    found = read_record(tmp_path)
    assert found is not None
    assert found.name == "llama"


@pytest.mark.parametrize("name", ["", "..", "a/b", "Llama", "-a", "a-", "1a", "a" * 41])
def test_names_that_could_be_trouble_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a deployment"):
        check_name(name)


def test_where_state_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FASTGEN_STATE", str(tmp_path / "a"))
    assert state_root() == tmp_path / "a"
    assert state_root(tmp_path / "b") == tmp_path / "b"
    monkeypatch.delenv("FASTGEN_STATE")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert state_root() == tmp_path / ".local" / "state" / "fastgen"


def test_a_process_is_told_apart_from_its_zombie() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    eventually(lambda: process_start_ticks(process.pid) is None)
    process.wait()
    assert process_start_ticks(os.getpid()) is not None
