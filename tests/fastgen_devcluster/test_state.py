"""Whose a cluster's folder is, and what becomes of one that is nobody's any more."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import eventually

from fastgen.local_state import process_start_ticks
from fastgen_devcluster.errors import DevClusterError
from fastgen_devcluster.processes import FOLDER_VARIABLE
from fastgen_devcluster.state import (
    ROOT_VARIABLE,
    ClusterFolder,
    ClusterRecord,
    ProcessId,
    claim,
    clear_leftovers,
    cluster_folder,
    cluster_folders,
    state_root,
)


@pytest.fixture(autouse=True)
def _own_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path / "clusters"))


def record(**changes: object) -> ClusterRecord:
    this = ProcessId(os.getpid(), process_start_ticks(os.getpid()) or 0)
    return ClusterRecord(**{"name": "dev", "supervisor": this, "processes": {"etcd": this, "kwok": None}, **changes})  # type: ignore[arg-type]


def test_the_folder_of_all_clusters_is_private() -> None:
    assert state_root().stat().st_mode & 0o777 == 0o700


def test_a_claimed_folder_is_refused_to_others_who_are_told_what_to_do() -> None:
    folder = cluster_folder("dev")
    with claim(folder):
        assert folder.is_locked()
        with pytest.raises(DevClusterError, match="'dev' is up already; `devcluster status --name dev`"):
            claim(folder)
    assert not folder.is_locked()
    claim(folder).close()


def test_a_claim_lasts_as_long_as_a_child_that_inherited_it() -> None:
    folder = cluster_folder("dev")
    with claim(folder) as lock:
        heir = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[lock.fileno()])
    assert folder.is_locked()
    assert clear_leftovers() == []
    heir.kill()
    heir.communicate()
    eventually(lambda: not folder.is_locked())


def test_a_record_is_read_as_it_was_written_and_stale_without_its_supervisor() -> None:
    folder = cluster_folder("dev")
    with claim(folder):
        folder.write_record(record(state="running"))
        assert folder.read_record() == record(state="running")
    assert folder.read_record() == record(state="stale")
    assert cluster_folder("none").read_record() is None


def test_a_damaged_record_is_said_to_be_one_and_cleared_away() -> None:
    folder = cluster_folder("dev")
    claim(folder).close()
    folder.record.write_text("{")
    with pytest.raises(DevClusterError, match="damaged"):
        folder.read_record()
    assert clear_leftovers() == ["dev"]


def test_what_a_dead_cluster_left_is_ended_and_removed_and_a_live_one_is_not() -> None:
    dead, alive = cluster_folder("dead"), cluster_folder("alive")
    claim(dead).close()
    unmarked = subprocess.Popen(["sleep", "300"])
    marked = subprocess.Popen(["sleep", "300"], env={**os.environ, FOLDER_VARIABLE: str(dead.path)})
    ticks = process_start_ticks(unmarked.pid)
    assert ticks is not None
    dead.write_record(record(processes={"etcd": ProcessId(unmarked.pid, ticks), "kwok": ProcessId(os.getpid(), 1)}))
    with claim(alive):
        assert clear_leftovers() == ["dead"]
        assert [folder.path for folder in cluster_folders()] == [alive.path]
    assert (unmarked.wait(10), marked.wait(10)) == (-9, -9)


def test_a_claim_clears_away_what_a_dead_cluster_of_that_name_left() -> None:
    folder = cluster_folder("dev")
    claim(folder).close()
    (folder.path / "etcd").mkdir()
    with claim(folder):
        assert not (folder.path / "etcd").exists()


def test_paths_of_a_folder_are_inside_it(tmp_path: Path) -> None:
    folder = ClusterFolder(tmp_path)
    for path in vars(folder).values():
        assert path.is_relative_to(tmp_path)
