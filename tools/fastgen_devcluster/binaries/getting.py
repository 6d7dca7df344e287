"""The order in which binaries are looked for and got."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from fastgen.errors import UnknownOptionError
from fastgen_devcluster.binaries import local
from fastgen_devcluster.binaries.archives import Archives
from fastgen_devcluster.binaries.cache import Cache
from fastgen_devcluster.binaries.errors import NotObtainedError, missing_error
from fastgen_devcluster.binaries.gobuild import GoBuild
from fastgen_devcluster.versions import FAMILIES, NAMES, Family, Program

OnProgress = Callable[[str], None]
"""Told a line of text now and then."""

_ADVICE = (
    "run `make control-plane` where the official archives, or Go and a Go module proxy, can be reached",
    f"name a folder that has the programs: {local.ASSETS_VARIABLE}=/folder",
)


class Search:
    """What was found, and what was tried for the rest."""

    def __init__(self, names: Iterable[str], cache: Cache, families: Sequence[Family]) -> None:
        self.wanted = list(dict.fromkeys(names))
        known = [program.name for family in families for program in family.programs]
        for name in self.wanted:
            if name not in known:
                raise UnknownOptionError(name, known, "the programs of a devcluster")
        self.cache = cache
        self.found: dict[str, Path] = {}
        self._families = families
        self._tried: dict[str, list[str]] = {name: [] for name in self.wanted}

    def missing(self) -> list[tuple[Family, Program]]:
        """What has not been found, in the order of the pins."""
        return [
            (family, program)
            for family in self._families
            for program in family.programs
            if program.name in self.wanted and program.name not in self.found
        ]

    def note(self, name: str, tried: str) -> None:
        """Remember a way that did not work."""
        self._tried[name].append(tried)

    def look(self) -> None:
        """Look at every place of this machine."""
        for family, program in self.missing():
            for place in (local.in_assets, local.on_path, self._in_cache):
                look = place(family, program)
                if look.path is not None:
                    self.found[program.name] = look.path
                    break
                self.note(program.name, look.tried)

    def look_in_cache(self) -> None:
        """Look again where another process may have put something since."""
        for family, program in self.missing():
            path = self._in_cache(family, program).path
            if path is not None:
                self.found[program.name] = path

    def _in_cache(self, family: Family, program: Program) -> local.Look:
        path = self.cache.path(family, program.name)
        return local.Look(path, f"cache: {self.cache.family_folder(family)} has no {program.name}")

    def result(self) -> Mapping[str, Path]:
        """Everything that was wanted; BinariesError where something is missing."""
        missing = {program.name: family.version for family, program in self.missing()}
        if missing:
            raise missing_error(missing, self._tried, _ADVICE)
        return {name: self.found[name] for name in self.wanted}


def find(names: Iterable[str] = NAMES, *, cache: Cache | None = None) -> Mapping[str, Path]:
    """The binaries as this machine has them; BinariesError lists where each missing one was looked for."""
    search = Search(names, cache or Cache(), FAMILIES)
    search.look()
    return search.result()


def obtain(
    names: Iterable[str],
    on_progress: OnProgress = print,
    *,
    cache: Cache | None = None,
    families: Sequence[Family] = FAMILIES,
) -> Mapping[str, Path]:
    """The binaries, downloaded or built where this machine has none; BinariesError lists everything that was tried.

    Of several processes at once one works, the others wait for it.
    """
    search = Search(names, cache or Cache(), families)
    search.look()
    if search.missing():
        with search.cache.locked(on_progress):
            search.look_in_cache()
            _get(search, search.missing(), on_progress)
    return search.result()


def obtain_all(on_progress: OnProgress = print, *, cache: Cache | None = None) -> Mapping[str, Path]:
    """Everything a devcluster may start (`make control-plane`)."""
    return obtain(NAMES, on_progress, cache=cache)


def _get(search: Search, missing: Sequence[tuple[Family, Program]], on_progress: OnProgress) -> None:
    """Each by the first way that works: the official archive, or a build by Go."""
    if not missing:
        return
    names = ", ".join(program.name for _, program in missing)
    on_progress(f"getting {names}; once, they are kept in {search.cache.folder}")
    archives = Archives({family.name: family for family, _ in missing}.values())
    go = GoBuild(search.cache, on_progress)
    for family, program in missing:
        try:
            try:
                path = archives.get(family, program, search.cache, on_progress)
            except NotObtainedError as failure:
                search.note(program.name, str(failure))
                path = go.build(family, program)
        except NotObtainedError as failure:
            search.note(program.name, str(failure))
            on_progress(f"{program.name}: not got; {failure}")
        else:
            search.found[program.name] = path
    if not search.missing():
        search.cache.tidy()
