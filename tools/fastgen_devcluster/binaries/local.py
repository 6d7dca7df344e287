"""Binaries that this machine has already: $KUBEBUILDER_ASSETS and PATH, each asked for its version."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from fastgen_devcluster.versions import ANY_MINOR, Family, Program

ASSETS_VARIABLE = "KUBEBUILDER_ASSETS"
_VERSION = re.compile(r"v?(\d+)\.(\d+)(?:\.\d+)?")
_ANSWER_SECONDS = 20.0


class Look(NamedTuple):
    """What a look at one place gave: the binary, or why there is none."""

    path: Path | None
    tried: str


def in_assets(family: Family, program: Program) -> Look:
    """$KUBEBUILDER_ASSETS was named on purpose: only a version known to be wrong is passed over."""
    folder = os.environ.get(ASSETS_VARIABLE)
    if not folder:
        return Look(None, f"{ASSETS_VARIABLE}: not set")
    path = Path(folder) / program.name
    if not os.access(path, os.X_OK):
        return Look(None, f"{ASSETS_VARIABLE}: {folder} has no {program.name}")
    return _judged(ASSETS_VARIABLE, family, program, path.absolute(), unknown_will_do=True)


def on_path(family: Family, program: Program) -> Look:
    """The first of that name on the PATH, if its version fits."""
    found = shutil.which(program.name)
    if found is None:
        return Look(None, f"PATH: no {program.name}")
    return _judged("PATH", family, program, Path(found).absolute(), unknown_will_do=False)


def _judged(place: str, family: Family, program: Program, path: Path, *, unknown_will_do: bool) -> Look:
    answer = _version_of(path, program.version_arguments, path.stat().st_mtime_ns)
    if isinstance(answer, str):
        return Look(path if unknown_will_do else None, f"{place}: {path} was passed over: {answer}")
    if family.oldest <= answer <= family.newest:
        return Look(path, f"{place}: {path}")
    return Look(None, f"{place}: {path} was passed over: it is {_text(answer)}, needed is {_wanted(family)}")


def _wanted(family: Family) -> str:
    oldest, newest = family.oldest, family.newest
    if newest[1] == ANY_MINOR:
        return f"{_text(oldest)} or a newer {newest[0]}.x"
    return _text(oldest) if oldest == newest else f"{_text(oldest)} to {_text(newest)}"


def _text(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


@functools.cache
def _version_of(path: Path, arguments: tuple[str, ...], _modified_at: int) -> tuple[int, int] | str:
    """Major and minor, or why they are not known."""
    try:
        done = subprocess.run(
            [str(path), *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_ANSWER_SECONDS,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as failure:
        return f"asked for its version it failed ({failure})"
    first_line = (done.stdout or done.stderr).strip().split("\n")[0]
    said = _VERSION.search(first_line)
    if done.returncode != 0 or said is None:
        return f"it does not say its version (exit status {done.returncode}: {first_line[:80]!r})"
    return int(said[1]), int(said[2])
