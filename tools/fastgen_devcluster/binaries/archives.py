"""The official archives: each program as its authors publish it."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import urlsplit

from fastgen_devcluster.binaries import download
from fastgen_devcluster.binaries.cache import Cache, system
from fastgen_devcluster.binaries.errors import NotObtainedError
from fastgen_devcluster.versions import Archive, Family, Program


class Archives:
    """The hosts of the official archives, asked once which of them can be reached."""

    def __init__(self, families: Iterable[Family]) -> None:
        urls = [
            _filled(url, family)
            for family in families
            for program in family.programs
            for url in (program.archive.url, program.archive.checksums_url)
            if url is not None
        ]
        self._unreachable = download.unreachable(urls)

    def get(self, family: Family, program: Program, cache: Cache, on_progress: Callable[[str], None]) -> Path:
        """Download, check and unpack one program, into the cache; NotObtainedError says why not."""
        operating_system, architecture = system()
        if operating_system != "linux":
            raise NotObtainedError("official archive: pinned for Linux only")
        archive, url = program.archive, _filled(program.archive.url, family)
        host = urlsplit(url).netloc
        if host in self._unreachable:
            raise NotObtainedError(f"official archive: {host} cannot be reached ({self._unreachable[host]})")
        folder = cache.unfinished(cache.family_folder(family))
        try:
            sha256 = archive.sha256.get(architecture) or _published_sha256(archive, family)
            got = folder / url.rsplit("/", 1)[1]
            download.download(download.Source(program.name, url, sha256), got, on_progress)
            if archive.member is not None:
                got = unpack(got, _filled(archive.member, family), folder / program.name)
        except NotObtainedError as failure:
            raise NotObtainedError(f"official archive: {failure}") from None
        return cache.keep(family, program.name, got)


def unpack(archive: Path, member: str, into: Path) -> Path:
    """Write one member of a .tar.gz to `into`. Nothing else of the archive touches the disk, whatever its names say."""
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for entry in tar:
                if entry.name != member:
                    continue
                content = tar.extractfile(entry) if entry.isfile() else None
                if content is None:
                    raise NotObtainedError(f"{archive.name}: {member} in it is not a file")
                with content, into.open("wb") as file:
                    shutil.copyfileobj(content, file)
                return into
    except (tarfile.TarError, EOFError, OSError) as failure:
        raise NotObtainedError(f"{archive.name} cannot be unpacked: {failure}") from None
    raise NotObtainedError(f"{archive.name} has no {member} in it")


def _published_sha256(archive: Archive, family: Family) -> str:
    if archive.checksums_url is None:
        raise NotObtainedError(f"no checksum is known for {'/'.join(system())}; add it to versions.py")
    url = _filled(archive.checksums_url, family)
    return download.published_sha256(url, _filled(archive.url, family).rsplit("/", 1)[1])


def _filled(template: str, family: Family) -> str:
    return template.format(version=family.version, arch=system()[1])
