"""Finding and getting as a whole: the order, the one clear message, and two processes at once."""

import subprocess
import sys
from pathlib import Path

import pytest
from file_server import FileServer
from program_family import a_family

from fastgen.errors import UnknownOptionError
from fastgen_devcluster import binaries
from fastgen_devcluster.binaries import getting, gobuild
from fastgen_devcluster.binaries.cache import Cache, system
from fastgen_devcluster.binaries.getting import obtain
from fastgen_devcluster.versions import Archive, Family

ARCHITECTURE = system()[1]


def served(server: FileServer, name: str, content: bytes = b"#!/bin/sh\n") -> Archive:
    return Archive(f"{server.url}/{name}", None, {ARCHITECTURE: server.serve(f"/{name}", content)})


def a_script(folder: Path, name: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("#!/bin/sh\necho 1.2.3\n")
    (folder / name).chmod(0o755)
    return folder / name


@pytest.fixture
def without_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setenv("PATH", str(empty))
    monkeypatch.setattr(gobuild, "USUAL_PLACE", empty / "go")


def test_the_order_is_assets_path_cache_archive(
    server: FileServer, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = a_family(served(server, "hammer"))
    from_archive = obtain(["hammer"], cache=cache, families=[family])["hammer"]
    assert from_archive == cache.family_folder(family) / "hammer"
    gets = len(server.gets())
    assert obtain(["hammer"], cache=cache, families=[family])["hammer"] == from_archive
    on_path = a_script(tmp_path / "bin", "hammer")
    monkeypatch.setenv("PATH", str(on_path.parent), prepend=":")
    assert obtain(["hammer"], cache=cache, families=[family])["hammer"] == on_path
    in_assets = a_script(tmp_path / "assets", "hammer")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(in_assets.parent))
    assert obtain(["hammer"], cache=cache, families=[family])["hammer"] == in_assets
    assert len(server.gets()) == gets


def test_when_all_is_there_only_the_programs_are_left(server: FileServer, cache: Cache) -> None:
    family = a_family(served(server, "hammer"), served(server, "saw"))
    cache.go_build.mkdir(parents=True)
    obtain(["hammer", "saw"], cache=cache, families=[family])
    left = {path.name for path in cache.folder.rglob("*") if path.is_file()}
    assert left == {"lock", "hammer", "saw"}


def test_what_was_got_before_something_failed_is_not_got_twice(
    server: FileServer, cache: Cache, without_go: None
) -> None:
    family = a_family(served(server, "hammer"), Archive(f"{server.url}/saw", None, {ARCHITECTURE: "0" * 64}))
    with pytest.raises(binaries.BinariesError):
        obtain(["hammer", "saw"], cache=cache, families=[family])
    whole = family._replace(programs=(family.programs[0],))
    assert cache.path(family, "hammer") is not None
    gets = len(server.gets())
    assert obtain(["hammer"], cache=cache, families=[family])
    assert len(server.gets()) == gets
    assert whole.programs


def test_one_message_lists_everything_that_was_tried(
    server: FileServer, cache: Cache, without_go: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path / "nothing"))
    family = a_family(Archive(f"{server.url}/hammer", None, {ARCHITECTURE: "0" * 64}))
    said: list[str] = []
    with pytest.raises(binaries.BinariesError) as failure:
        obtain(["hammer"], said.append, cache=cache, families=[family])
    assert str(failure.value).splitlines() == [
        "a devcluster needs hammer, and it could not be had:",
        "  hammer 1.2.3",
        f"    - KUBEBUILDER_ASSETS: {tmp_path}/nothing has no hammer",
        "    - PATH: no hammer",
        f"    - cache: {cache.family_folder(family)} has no hammer",
        f"    - official archive: {server.url}/hammer: the server answers 404 Not Found",
        f"    - Go build: no go on the PATH nor at {tmp_path}/empty/go (Go 1.21 or newer is needed)",
        "any one of these helps:",
        "  - run `make control-plane` where the official archives, or Go and a Go module proxy, can be reached",
        "  - name a folder that has the programs: KUBEBUILDER_ASSETS=/folder",
    ]
    assert said[-1].startswith("hammer: not got; ")


def test_find_gets_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, without_go: None) -> None:
    with pytest.raises(binaries.BinariesError, match="PATH: no etcd"):
        binaries.find(["etcd"])
    assert not (tmp_path / "cache").exists()


def test_a_name_nobody_knows_is_an_error() -> None:
    with pytest.raises(UnknownOptionError, match="did you mean 'kubectl'"):
        binaries.find(["kubectI"])


GET = """
import sys
from pathlib import Path
sys.path[:0] = [sys.argv[4]]
from program_family import a_family
from fastgen_devcluster.binaries.cache import Cache
from fastgen_devcluster.binaries.getting import obtain
from fastgen_devcluster.versions import Archive
cache, url, digest = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
family = a_family(Archive(url, None, {"amd64": digest, "arm64": digest}))
print(obtain(["hammer"], print, cache=Cache(cache / "devcluster", cache / "gotools"), families=[family])["hammer"])
"""


def test_of_several_at_once_one_works_and_the_others_wait(server: FileServer, cache: Cache, tmp_path: Path) -> None:
    digest = server.serve("/hammer", bytes(8_000_000))
    (tmp_path / "devcluster").mkdir()
    support = str(Path(__file__).parents[2] / "support")
    arguments = [str(tmp_path), f"{server.url}/hammer", digest, support]
    each = [
        subprocess.Popen([sys.executable, "-c", GET, *arguments], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    said = [process.communicate(timeout=60)[0].splitlines() for process in each]
    assert [process.returncode for process in each] == [0, 0, 0]
    assert len({lines[-1] for lines in said}) == 1
    assert len(server.gets()) == 1


def test_families_without_a_wish_are_not_asked_for(server: FileServer, cache: Cache) -> None:
    hammer: Family = a_family(served(server, "hammer"), served(server, "saw"))
    assert set(getting.obtain(["hammer"], cache=cache, families=[hammer])) == {"hammer"}
    assert [asked.path for asked in server.gets()] == ["/hammer"]
