"""Make the lock files: every package with its version and hashes, for every platform.

    python tools/lock.py             brings the locks up to date with pyproject.toml; versions that still fit stay
    python tools/lock.py --upgrade   takes the newest versions
    python tools/lock.py --check     writes nothing; exits 1 where a lock is not current

The locks name no index, so a mirror serves as well as the origin.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAIN = "requirements.lock"


@dataclass(frozen=True)
class Lock:
    """One lock file and what goes into it."""

    file: str
    selection: tuple[str, ...]
    follows_main: bool = True
    """Take the versions of the main lock, so that an image holds what was tested."""

    def command(self, uv: str, upgrade: bool) -> list[str]:
        """The uv call, relative to the root; the file's header quotes it."""
        command = [uv, "pip", "compile", "--universal", "--generate-hashes", "--no-emit-index-url"]
        if self.follows_main:
            command += ["--constraints", MAIN]
        elif upgrade:
            command += ["--upgrade"]
        return [*command, *self.selection, "-o", self.file, "--quiet"]


def _extras(*names: str) -> tuple[str, ...]:
    return (*(word for name in names for word in ("--extra", name)), "pyproject.toml")


LOCKS = (
    Lock(MAIN, _extras("engine", "server", "operator", "bench", "dev"), follows_main=False),
    Lock("requirements-serving.lock", _extras("engine", "server")),
    Lock("requirements-operator.lock", _extras("operator")),
    Lock("requirements-build.lock", ("--group", "build")),
)


def compile_locks(uv: str, folder: Path, upgrade: bool) -> None:
    """Compile every lock in `folder`, which holds pyproject.toml and the present locks. Exits 2 when uv cannot."""
    for lock in LOCKS:
        done = subprocess.run(lock.command(uv, upgrade), cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            print(done.stderr.strip(), file=sys.stderr)
            print(
                f"lock: uv could not compile {lock.file}. If the package registry cannot be reached from here, run "
                "this where it can, or name a mirror with UV_DEFAULT_INDEX; if it says the requirements conflict, "
                "change pyproject.toml.",
                file=sys.stderr,
            )
            raise SystemExit(2)


def stale_locks(uv: str) -> list[str]:
    """The lock files that differ from what pyproject.toml asks for, compiled anew in a folder of their own."""
    with tempfile.TemporaryDirectory(prefix="fastgen-lock-") as name:
        folder = Path(name)
        for file in ("pyproject.toml", *(lock.file for lock in LOCKS)):
            if (ROOT / file).exists():
                shutil.copy(ROOT / file, folder / file)
        compile_locks(uv, folder, upgrade=False)
        return [lock.file for lock in LOCKS if not _same(ROOT / lock.file, folder / lock.file)]


def _same(one: Path, other: Path) -> bool:
    return one.exists() and one.read_bytes() == other.read_bytes()


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0: done or current; 1: a lock is not current; 2: uv could not tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--uv", default="uv", help="the uv program (default: the one on the PATH)")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--check", action="store_true")
    choice.add_argument("--upgrade", action="store_true")
    options = parser.parse_args(arguments)
    if shutil.which(options.uv) is None:
        print(f"lock: there is no program {options.uv!r}; `make lock` brings its own uv", file=sys.stderr)
        return 2
    uv = str(Path(options.uv).resolve()) if "/" in options.uv else options.uv
    if not options.check:
        compile_locks(uv, ROOT, options.upgrade)
        return 0
    stale = stale_locks(uv)
    for file in stale:
        print(f"{file} is not current with pyproject.toml; run `make lock` and commit it", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
