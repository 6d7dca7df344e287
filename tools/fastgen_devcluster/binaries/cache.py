"""Where finished binaries are kept, and how two processes share the place.

    ~/.cache/fastgen/devcluster/             ($FASTGEN_CACHE, or $XDG_CACHE_HOME/fastgen, name another fastgen folder)
        kubernetes-1.36.3-4f0c…/kube-apiserver …     one folder per family; the key covers everything that made them
        unfinished/…                                 downloads and build outputs under way; resumed by the next start
        go-build/                                    Go's build cache: gone once everything is built
        lock                                         held by who downloads or builds

A binary is in its family's folder only when it is whole: it is moved there, in one step, when finished.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from fastgen_devcluster.binaries.errors import BinariesError
from fastgen_devcluster.versions import Family

GOTOOLS = Path(__file__).resolve().parent.parent / "gotools"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_SAY_AGAIN_SECONDS = 30.0
_LOOK_SECONDS = 0.2


def cache_folder() -> Path:
    """The devcluster's part of FastGen's cache. Not created here."""
    chosen = os.environ.get("FASTGEN_CACHE")
    if chosen:
        return Path(chosen) / "devcluster"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "fastgen" / "devcluster"


def system() -> tuple[str, str]:
    """Operating system and architecture as Go names them, for example ("linux", "amd64")."""
    machine = platform.machine()
    return sys.platform, _ARCHITECTURES.get(machine, machine)


class Cache:
    """One cache folder, for what the Go modules under `gotools` and the pins describe."""

    def __init__(self, folder: Path | None = None, gotools: Path = GOTOOLS) -> None:
        self.folder = folder or cache_folder()
        self.gotools = gotools

    def family_folder(self, family: Family) -> Path:
        """Where the binaries of `family` are kept, once they are whole."""
        return self.folder / f"{family.name}-{family.version}-{self._key(family)}"

    def path(self, family: Family, name: str) -> Path | None:
        """The binary, where the cache has it."""
        path = self.family_folder(family) / name
        return path if os.access(path, os.X_OK) else None

    def unfinished(self, finished: Path) -> Path:
        """A folder for what will be in `finished` and is not whole yet; created here."""
        folder = self.folder / "unfinished" / finished.name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def go_build(self) -> Path:
        """Go's build cache while something is built."""
        return self.folder / "go-build"

    def keep(self, family: Family, name: str, finished: Path) -> Path:
        """Move a whole binary (on the same file system) to where it will be found."""
        folder = self.family_folder(family)
        folder.mkdir(parents=True, exist_ok=True)
        finished.chmod(0o755)
        return finished.replace(folder / name)

    def tidy(self) -> None:
        """Remove what only a download or a build under way needs."""
        for folder in (self.go_build, self.folder / "unfinished"):
            shutil.rmtree(folder, ignore_errors=True)

    def _key(self, family: Family) -> str:
        """Changes with whatever changes the binaries: the pins, the Go modules, the machine's kind."""
        digest = hashlib.sha256(repr((family, system())).encode())
        for name in ("go.mod", "go.sum"):
            digest.update((self.gotools / family.name / name).read_bytes())
        return digest.hexdigest()[:12]

    def _lock_file(self) -> IO[str]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            return (self.folder / "lock").open("a+", encoding="utf-8")
        except OSError as failure:
            raise BinariesError(
                f"the cache {self.folder} cannot be written ({failure.strerror}); name another folder: "
                "FASTGEN_CACHE=/folder"
            ) from None

    @contextlib.contextmanager
    def locked(self, on_progress: Callable[[str], None]) -> Iterator[None]:
        """Hold the cache; while another process does, wait and say for whom. A dead holder's lock is free at once."""
        with self._lock_file() as file:
            _wait_for_lock(file, on_progress)
            file.truncate(0)
            file.write(f"process {os.getpid()} since {time.strftime('%H:%M:%S')}")
            file.flush()
            try:
                yield
            finally:
                file.truncate(0)


def _wait_for_lock(file: IO[str], on_progress: Callable[[str], None]) -> None:
    said_at = -_SAY_AGAIN_SECONDS
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        if time.monotonic() - said_at >= _SAY_AGAIN_SECONDS:
            said_at = time.monotonic()
            file.seek(0)
            holder = file.read().strip() or "another process"
            on_progress(f"waiting: {holder} is getting the binaries")
        time.sleep(_LOOK_SECONDS)
