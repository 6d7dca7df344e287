"""A start that goes wrong says why, and leaves nothing behind. (The programs are shell scripts: nothing gets far.)"""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pretend_binaries import pretend_binaries
from waiting import eventually

from fastgen_devcluster import cluster
from fastgen_devcluster.cluster import ClusterOptions
from fastgen_devcluster.errors import DevClusterError
from fastgen_devcluster.processes import processes_of
from fastgen_devcluster.state import ROOT_VARIABLE, claim, cluster_folder, cluster_folders

OPTIONS = ClusterOptions(name="try", prometheus=False, process_node=False)
UP = [sys.executable, "-m", "fastgen_devcluster", "up", "--name", "try", "--no-prometheus"]


@pytest.fixture(autouse=True)
def _own_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path / "clusters"))
    monkeypatch.setenv("PATH", os.defpath)


def use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **bodies: str) -> None:
    """Let the programs do this."""
    named = {name.replace("_", "-"): body for name, body in bodies.items()}
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(pretend_binaries(tmp_path / "bin", named)))


def nothing_left() -> bool:
    folder = cluster_folder("try")
    return not folder.path.exists() and not list(processes_of(folder.path))


def test_a_component_that_dies_is_named_with_the_end_of_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(tmp_path, monkeypatch, kube_apiserver="echo reading the flags; echo no space left on device >&2; exit 3")
    with pytest.raises(DevClusterError) as caught:
        cluster.start(OPTIONS)
    said = str(caught.value)
    assert "cluster 'try' could not start: kube-apiserver ended with status 3; the end of its log:" in said
    assert said.endswith("    reading the flags\n    no space left on device")
    assert nothing_left()


def test_a_program_that_cannot_be_started_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(tmp_path, monkeypatch)
    (tmp_path / "bin" / "etcd").write_text("#!/no/such/interpreter\n")
    with pytest.raises(DevClusterError, match=r"cannot start etcd: .*No such file"):
        cluster.start(OPTIONS)
    assert nothing_left()


def test_logs_are_kept_where_they_were_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(tmp_path, monkeypatch, etcd="echo a word; exit 1")
    kept = tmp_path / "kept"
    with pytest.raises(DevClusterError, match="etcd ended with status 1"):
        cluster.start(dataclasses.replace(OPTIONS, keep_logs_in=kept))
    assert "a word" in (kept / "etcd.log").read_text()
    assert "etcd" in (kept / "supervisor.log").read_text()
    assert nothing_left()


def test_what_is_never_ready_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(tmp_path, monkeypatch)
    with pytest.raises(DevClusterError, match=r"kube-apiserver did not become ready within 0\.5 s: /readyz: "):
        cluster.start(dataclasses.replace(OPTIONS, ready_seconds=0.5))
    assert nothing_left()


def test_too_little_disk_space_is_said_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(tmp_path, monkeypatch)
    monkeypatch.setattr(cluster, "NEEDED_BYTES", 1 << 60)
    with pytest.raises(DevClusterError, match=f"MiB of disk space left, a cluster needs .*{ROOT_VARIABLE}"):
        cluster.start(OPTIONS)
    assert nothing_left()


def test_a_start_that_fails_on_a_full_disk_says_how_full_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(tmp_path, monkeypatch, etcd="exit 1")
    monkeypatch.setattr(cluster, "FULL_BYTES", 1 << 60)
    with pytest.raises(DevClusterError, match=r"could not start \(.*clusters had \d+ MiB of disk space left\): etcd "):
        cluster.start(OPTIONS)
    assert nothing_left()


def test_a_name_that_is_taken_is_refused_and_what_runs_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(tmp_path, monkeypatch)
    with claim(cluster_folder("try")), pytest.raises(DevClusterError, match="'try' is up already"):
        cluster.start(OPTIONS)
    assert cluster_folder("try").path.exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_start_that_is_interrupted_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    use(tmp_path, monkeypatch)
    up = subprocess.Popen([*UP, "--foreground"])
    eventually(lambda: any("sleep" in name for name in names_of(processes_of(cluster_folder("try").path))), 30)
    up.send_signal(number)
    assert up.wait(30) == (-signal.SIGKILL if number == signal.SIGKILL else 130)
    eventually(nothing_left, 20)
    assert list(cluster_folders()) == []


def names_of(processes: object) -> list[str]:
    found = []
    for pid, _ in list(processes):  # type: ignore[call-overload]
        try:
            found.append(Path(f"/proc/{pid}/comm").read_text())
        except OSError:
            continue
    return found
