"""The official archives: only the program itself is taken out of them, and only when its checksum is right."""

import io
import tarfile
from pathlib import Path

import pytest
from file_server import FileServer
from program_family import a_family

from fastgen_devcluster.binaries.archives import Archives, unpack
from fastgen_devcluster.binaries.cache import Cache, system
from fastgen_devcluster.binaries.errors import NotObtainedError
from fastgen_devcluster.versions import Archive, Family

ARCHITECTURE = system()[1]


def a_tar(*members: tuple[str, bytes | str]) -> bytes:
    """A .tar.gz; a member with text for content is a symbolic link to it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            if isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
                tar.addfile(entry)
            else:
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def get(family: Family, cache: Cache) -> Path:
    return Archives([family]).get(family, family.programs[0], cache, lambda text: None)


def test_a_bare_program_goes_to_the_cache_and_can_run(server: FileServer, cache: Cache) -> None:
    digest = server.serve("/v1.2.3/hammer-" + ARCHITECTURE, b"#!/bin/sh\n")
    family = a_family(Archive(server.url + "/v{version}/hammer-{arch}", None, {ARCHITECTURE: digest}))
    got = get(family, cache)
    assert got == cache.path(family, "hammer")
    assert got.read_bytes() == b"#!/bin/sh\n"


def test_only_the_program_is_taken_out_of_an_archive(server: FileServer, cache: Cache) -> None:
    outside = cache.folder.parent / "outside"
    content = a_tar(
        ("../../../outside", b"mischief"),
        (str(outside), b"mischief"),
        ("tools/README", b"read me"),
        ("tools/hammer", b"the program"),
    )
    digest = server.serve("/tools.tar.gz", content)
    family = a_family(Archive(server.url + "/tools.tar.gz", "tools/hammer", {ARCHITECTURE: digest}))
    assert get(family, cache).read_bytes() == b"the program"
    left = {path.name for path in cache.folder.parent.rglob("*") if path.is_file()}
    assert left == {"hammer", "tools.tar.gz"}
    assert not outside.exists()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (a_tar(("tools/hammer", "/bin/sh")), "tools/hammer in it is not a file"),
        (a_tar(("tools/saw", b"saw")), "has no tools/hammer in it"),
        (b"this is no archive", "cannot be unpacked"),
        (a_tar(("tools/saw", bytes(100_000)), ("tools/hammer", b"the program"))[:150], "cannot be unpacked"),
    ],
    ids=["a link", "not in it", "no archive", "cut short"],
)
def test_an_archive_that_is_not_as_expected_is_told(tmp_path: Path, content: bytes, why: str) -> None:
    archive = tmp_path / "tools.tar.gz"
    archive.write_bytes(content)
    with pytest.raises(NotObtainedError, match=why):
        unpack(archive, "tools/hammer", tmp_path / "hammer")


def test_a_wrong_checksum_never_reaches_the_cache(server: FileServer, cache: Cache) -> None:
    server.serve("/hammer", b"something else")
    family = a_family(Archive(server.url + "/hammer", None, {ARCHITECTURE: "0" * 64}))
    with pytest.raises(NotObtainedError, match=r"official archive: .*SHA-256"):
        get(family, cache)
    assert cache.path(family, "hammer") is None


def test_where_no_digest_is_pinned_the_published_one_is_used(server: FileServer, cache: Cache) -> None:
    digest = server.serve(f"/hammer-{ARCHITECTURE}", b"the program")
    server.serve("/SUMS", f"{digest}  hammer-{ARCHITECTURE}\n".encode())
    family = a_family(Archive(server.url + "/hammer-{arch}", None, {}, server.url + "/SUMS"))
    assert get(family, cache).read_bytes() == b"the program"
    server.serve("/SUMS", f"{'0' * 64}  hammer-{ARCHITECTURE}\n".encode())
    with pytest.raises(NotObtainedError, match="SHA-256"):
        get(family, cache)


def test_without_any_digest_nothing_is_downloaded(server: FileServer, cache: Cache) -> None:
    server.serve("/hammer", b"the program")
    family = a_family(Archive(server.url + "/hammer", None, {"of another machine": "0" * 64}))
    with pytest.raises(NotObtainedError, match="no checksum is known for linux/"):
        get(family, cache)
    assert server.gets() == []


def test_a_host_out_of_reach_is_not_tried(cache: Cache) -> None:
    family = a_family(Archive("https://no-such-host.invalid/hammer", None, {ARCHITECTURE: "0" * 64}))
    with pytest.raises(NotObtainedError, match=r"official archive: no-such-host.invalid cannot be reached"):
        get(family, cache)
