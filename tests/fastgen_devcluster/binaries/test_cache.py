"""Where binaries are kept, and that two processes do not get in each other's way."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from program_family import a_family
from waiting import eventually

from fastgen_devcluster.binaries import BinariesError
from fastgen_devcluster.binaries.cache import Cache, cache_folder
from fastgen_devcluster.versions import Archive

FAMILY = a_family(Archive("https://nowhere.test/hammer", None, {}))
HOLD = """
import sys, time
from pathlib import Path
from fastgen_devcluster.binaries import BinariesError
from fastgen_devcluster.binaries.cache import Cache
with Cache(Path(sys.argv[1])).locked(print):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_folder_is_named_as_the_rest_of_fastgen_names_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FASTGEN_CACHE", "/a")
    assert cache_folder() == Path("/a/devcluster")
    monkeypatch.delenv("FASTGEN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert cache_folder() == Path("/b/fastgen/devcluster")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/c")
    assert cache_folder() == Path("/c/.cache/fastgen/devcluster")


def test_whatever_changes_the_binaries_changes_their_folder(cache: Cache) -> None:
    before = cache.family_folder(FAMILY)
    assert cache.family_folder(FAMILY._replace(ldflags=("-X a=b",))) != before
    (cache.gotools / "tools" / "go.sum").write_text("example.test/other v1.0.0 h1:=\n")
    assert cache.family_folder(FAMILY) != before


def test_what_cannot_be_run_is_not_in_the_cache(cache: Cache) -> None:
    folder = cache.family_folder(FAMILY)
    folder.mkdir(parents=True)
    (folder / "hammer").write_text("half a file")
    assert cache.path(FAMILY, "hammer") is None
    (folder / "hammer").chmod(0o755)
    assert cache.path(FAMILY, "hammer") == folder / "hammer"


def test_a_cache_that_cannot_be_written_is_told_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    cache = Cache(tmp_path / "file" / "devcluster")
    with (
        pytest.raises(BinariesError, match=r"cannot be written \(Not a directory\); name another folder"),
        cache.locked(print),
    ):
        pass


def test_who_waits_is_told_for_whom_and_a_dead_holder_holds_nothing(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as second:
            assert second.stdout is not None
            os.set_blocking(second.stdout.fileno(), True)
            assert second.stdout.readline().startswith(f"waiting: process {first.pid} since ")
            os.kill(first.pid, signal.SIGKILL)
            assert second.stdout.readline() == "held\n"
            eventually(lambda: (tmp_path / "lock").read_text().startswith(f"process {second.pid} since "))
            second.kill()
