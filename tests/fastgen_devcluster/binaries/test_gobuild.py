"""A build by the Go toolchain, and what is said where it cannot be."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from program_family import a_family
from waiting import eventually

from fastgen_devcluster.binaries import gobuild
from fastgen_devcluster.binaries.cache import Cache
from fastgen_devcluster.binaries.errors import NotObtainedError
from fastgen_devcluster.binaries.gobuild import GoBuild
from fastgen_devcluster.versions import Archive

FAMILY = a_family(Archive("https://nowhere.test/hammer", None, {}))
HAMMER = FAMILY.programs[0]
FAKE_GO = """\
#!/bin/sh
echo "$1" >> {log}
case $1 in
version) echo "go version go1.26.8 linux/amd64" ;;
list) {list} ;;
build) {build} ;;
esac
"""


@pytest.fixture
def fake_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder at the front of the PATH."""
    folder = tmp_path / "go-bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return folder


def write_go(folder: Path, text: str = FAKE_GO, *, list: str = "echo a; echo b", build: str) -> Path:
    """A stand-in for the toolchain; the log of what it was asked."""
    log = folder / "log"
    (folder / "go").write_text(text.format(log=log, list=list, build=build))
    (folder / "go").chmod(0o755)
    return log


def test_a_finished_program_is_moved_into_the_cache(cache: Cache, fake_go: Path) -> None:
    # The output is the second argument to the last.
    write_go(fake_go, build='echo a >&2; echo b >&2; while [ "$1" != -o ]; do shift; done; echo program > "$2"')
    said: list[str] = []
    got = GoBuild(cache, said.append).build(FAMILY, HAMMER)
    assert got == cache.path(FAMILY, "hammer")
    assert got.read_text() == "program\n"
    assert said[0] == "hammer: building with Go"
    assert said[-1].startswith("hammer: built, ")


def test_how_far_a_build_is_is_told(cache: Cache, fake_go: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gobuild.Told, "EVERY_SECONDS", 0.0)
    write_go(fake_go, build='echo k8s.io/api >&2; while [ "$1" != -o ]; do shift; done; echo program > "$2"')
    said: list[str] = []
    GoBuild(cache, said.append).build(FAMILY, HAMMER)
    assert "hammer: 0:00, compiled 1 of at most 2 packages (k8s.io/api)" in said


def test_a_build_that_fails_shows_the_end_of_what_go_said(cache: Cache, fake_go: Path) -> None:
    write_go(fake_go, build='for i in $(seq 100); do echo "line $i" >&2; done; exit 1')
    with pytest.raises(NotObtainedError) as failure:
        GoBuild(cache, print).build(FAMILY, HAMMER)
    lines = str(failure.value).splitlines()
    assert lines[0] == "Go build: go build ended with 1, its last lines:"
    assert [line.strip() for line in lines[1:]] == [f"line {i}" for i in range(89, 101)]
    assert cache.path(FAMILY, "hammer") is None


def test_no_go_at_all_is_told(cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(gobuild, "USUAL_PLACE", tmp_path / "go")
    with pytest.raises(NotObtainedError, match=r"no go on the PATH nor at .*\(Go 1.21 or newer is needed\)"):
        GoBuild(cache, print).build(FAMILY, HAMMER)


def test_a_go_too_old_is_told(cache: Cache, fake_go: Path) -> None:
    write_go(fake_go, FAKE_GO.replace("go1.26.8", "go1.19.13"), build="exit 1")
    with pytest.raises(NotObtainedError, match=r"is Go 1.19, needed is Go 1.21 or newer"):
        GoBuild(cache, print).build(FAMILY, HAMMER)


def test_without_a_network_it_is_said_once_and_not_tried_again(cache: Cache, fake_go: Path) -> None:
    said = "go: k8s.io/api@v0.36.3: dial tcp: lookup modules.test: no such host"
    log = write_go(
        fake_go, list=f'echo "{said}" >&2; echo "GOPROXY=$GOPROXY" >> $(dirname $0)/log; exit 1', build="exit 9"
    )
    build = GoBuild(cache, print)
    for _ in range(2):
        with pytest.raises(
            NotObtainedError, match=r"the Go modules cannot be downloaded \(GOPROXY: .*\):\s+go: k8s.io"
        ):
            build.build(FAMILY, HAMMER)
    asked = log.read_text()
    assert asked.count("GOPROXY=off") == 1
    assert "build" not in asked


def test_too_little_disk_is_told_before_anything_is_written(
    cache: Cache, fake_go: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_go(fake_go, build="exit 9")
    monkeypatch.setattr(gobuild, "NEEDED_BYTES", 1 << 60)
    with pytest.raises(NotObtainedError, match=r"GB are free for .*, a build needs .* GB for a while"):
        GoBuild(cache, print).build(FAMILY, HAMMER)


def test_a_build_is_ended_with_whoever_wanted_it(
    cache: Cache, fake_go: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gobuild.Told, "EVERY_SECONDS", 0.0)
    survived = tmp_path / "survived"
    write_go(fake_go, build=f"echo k8s.io/api >&2; (sleep 1; touch {survived}) & wait")

    def interrupted(text: str) -> None:
        if "k8s.io/api" in text:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        GoBuild(cache, interrupted).build(FAMILY, HAMMER)
    time.sleep(1.2)  # as long as the child would have needed
    assert not survived.exists()


BUILD = """
import sys
from pathlib import Path
from program_family import a_family
from fastgen_devcluster.binaries.cache import Cache
from fastgen_devcluster.binaries.gobuild import GoBuild
from fastgen_devcluster.versions import Archive
family = a_family(Archive("", None, {}))
GoBuild(Cache(Path(sys.argv[1]), Path(sys.argv[2])), print).build(family, family.programs[0])
"""


def test_a_build_is_ended_when_whoever_wanted_it_is_killed(cache: Cache, fake_go: Path, tmp_path: Path) -> None:
    process_id = tmp_path / "go.pid"
    write_go(fake_go, build=f"echo $$ > {process_id}.new; mv {process_id}.new {process_id}; exec sleep 60")
    paths = os.pathsep.join(path for path in sys.path if path)
    command = [sys.executable, "-c", BUILD, str(cache.folder), str(cache.gotools)]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": paths}) as building:
        eventually(process_id.exists, 30)
        building.kill()
    go = Path(f"/proc/{process_id.read_text().strip()}")
    eventually(lambda: not go.exists() or "Z (zombie)" in (go / "status").read_text())


def test_what_would_change_the_outcome_is_not_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOFLAGS", "-mod=vendor")
    monkeypatch.setenv("GOOS", "plan9")
    monkeypatch.setenv("GOPROXY", "https://proxy.mine.test")
    monkeypatch.delenv("HOME", raising=False)
    env = gobuild.environment(Path("/build-cache"))
    assert env["GOFLAGS"] == "-mod=readonly"
    assert "GOOS" not in env
    assert env["GOPROXY"] == "https://proxy.mine.test"
    assert env["GOCACHE"] == "/build-cache"
    assert Path(env["HOME"]).is_absolute()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("go") is None, reason="needs Go")
def test_the_real_toolchain_builds_a_program_that_runs(cache: Cache) -> None:
    said: list[str] = []
    got = GoBuild(cache, said.append).build(FAMILY, HAMMER)
    assert os.popen(f"{got} 2>&1").read() == "built\n"
    assert (cache.go_build / "README").exists()  # ours, not the person's
