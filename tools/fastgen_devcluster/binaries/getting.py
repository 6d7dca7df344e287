"""The order in which binaries are looked for and got."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from fastgen.errors import UnknownOptionError
from fastgen_devcluster.binaries import gobuild, local
from fastgen_devcluster.binaries.cache import Cache
from fastgen_devcluster.binaries.errors import NotObtainedError, missing_error
from fastgen_devcluster.versions import FAMILIES, NAMES, Family, Program

_ADVICE = (
    "run `make control-plane` where the official archives or a Go module proxy can be reached",
    f"name a folder that has them: {local.ASSETS_VARIABLE}=/folder",
)


class Search:
    """What was found, and what was tried for the rest."""

    def __init__(self, names: Iterable[str], cache: Cache) -> None:
        self.wanted = list(dict.fromkeys(names))
        for name in self.wanted:
            if name not in NAMES:
                raise UnknownOptionError(name, NAMES, "the binaries of a devcluster")
        self.cache = cache
        self.found: dict[str, Path] = {}
        self.tried: dict[str, list[str]] = {name: [] for name in self.wanted}

    def missing(self) -> list[tuple[Family, Program]]:
        """What has not been found, in the order of the pins."""
        return [
            (family, program)
            for family in FAMILIES
            for program in family.programs
            if program.name in self.wanted and program.name not in self.found
        ]

    def look(self) -> None:
        """Look at every place that costs nothing."""
        for family, program in self.missing():
            for place in (local.in_assets, local.on_path, self._in_cache):
                look = place(family, program)
                if look.path is not None:
                    self.found[program.name] = look.path
                    break
                self.tried[program.name].append(look.tried)

    def _in_cache(self, family: Family, program: Program) -> local.Look:
        path = self.cache.path(family, program.name)
        return local.Look(path, f"cache: nothing in {self.cache.family_folder(family)}")

    def result(self) -> Mapping[str, Path]:
        """Everything that was wanted; BinariesError where something is missing."""
        missing = [program.name for _, program in self.missing()]
        if missing:
            raise missing_error(missing, self.tried, _ADVICE)
        return {name: self.found[name] for name in self.wanted}


def find(names: Iterable[str] = NAMES, *, cache: Cache | None = None) -> Mapping[str, Path]:
    """The binaries as this machine has them; BinariesError lists where each missing one was looked for."""
    search = Search(names, cache or Cache())
    search.look()
    return search.result()


def obtain(
    names: Iterable[str], on_progress: Callable[[str], None] = print, *, cache: Cache | None = None
) -> Mapping[str, Path]:
    """The binaries, downloaded or built where this machine has none; BinariesError lists everything that was tried."""
    search = Search(names, cache or Cache())
    search.look()
    if search.missing():
        with search.cache.locked(on_progress):
            _get_missing(search, on_progress)
    return search.result()


def obtain_all(on_progress: Callable[[str], None] = print, *, cache: Cache | None = None) -> Mapping[str, Path]:
    """Everything a devcluster may start (`make control-plane`)."""
    return obtain(NAMES, on_progress, cache=cache)


def _get_missing(search: Search, on_progress: Callable[[str], None]) -> None:
    for family, program in search.missing():
        try:
            search.found[program.name] = gobuild.build(family, program, search.cache, on_progress)
        except NotObtainedError as failure:
            search.tried[program.name].append(str(failure))
    if not search.missing():
        search.cache.tidy()
