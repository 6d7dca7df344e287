"""Building a program with the Go toolchain, from the modules under `gotools/`.

Go's build cache is a folder of ours (6 GB for everything), removed when all is built; its module cache is the person's
own, as for anything they build with Go. An interrupted build goes on where it was.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from fastgen_devcluster.binaries.cache import Cache
from fastgen_devcluster.binaries.errors import NotObtainedError
from fastgen_devcluster.binaries.following import Followed, follow
from fastgen_devcluster.versions import Family, Program

USUAL_PLACE = Path("/usr/local/go/bin/go")
NEEDED_BYTES = 7_000_000_000
"""Free disk a build of everything needs; what is built already needs none."""
LINES_TOLD = 12
_NEEDS = re.compile(r"^go (\d+)\.(\d+)", re.MULTILINE)
_IS = re.compile(r"go(\d+)\.(\d+)")
_NO_NETWORK = re.compile(
    r"dial tcp|no such host|connection refused|i/o timeout|TLS handshake timeout|proxyconnect|network is unreachable"
    r"|disabled by GOPROXY=off"
)


class GoBuild:
    """Builds one program after another; remembers that there is no network, once that is known."""

    def __init__(self, cache: Cache, on_progress: Callable[[str], None]) -> None:
        self._cache = cache
        self._on_progress = on_progress
        self._offline = False

    def build(self, family: Family, program: Program) -> Path:
        """Build one program and put it into the cache; NotObtainedError says why not."""
        module = self._cache.gotools / family.name
        go = go_tool(module)
        self._cache.folder.mkdir(parents=True, exist_ok=True)
        free_bytes = shutil.disk_usage(self._cache.folder).free
        if free_bytes < NEEDED_BYTES and not self._cache.go_build.exists():
            raise NotObtainedError(
                f"Go build: {free_bytes / 1e9:.1f} GB are free for {self._cache.folder},"
                f" a build needs {NEEDED_BYTES / 1e9:.0f} GB for a while"
            )
        tags = ["-tags", ",".join(family.tags)] if family.tags else []
        packages = self._packages(go, module, program, tags)
        output = self._cache.unfinished(self._cache.family_folder(family)) / f"{program.name}-{os.getpid()}"
        flags = ["-v", "-trimpath", "-ldflags", " ".join(("-s", "-w", *family.ldflags)), *tags]
        told = Told(program.name, packages, self._on_progress)
        self._run([str(go), "build", *flags, "-o", str(output), program.package], module, program, told.compiled)
        told.done(output)
        return self._cache.keep(family, program.name, output)

    def _packages(self, go: Path, module: Path, program: Program, tags: list[str]) -> int:
        """Gets the modules, and counts what there is to compile."""
        told = Told(program.name, 0, self._on_progress)
        command = [str(go), "list", "-deps", *tags, "-f", "{{.ImportPath}}", program.package]
        return len(self._run(command, module, program, told.downloaded).output.splitlines())

    def _run(self, command: list[str], module: Path, program: Program, on_line: Callable[[str], None]) -> Followed:
        env = environment(self._cache.go_build) | ({"GOPROXY": "off"} if self._offline else {})
        done = follow(command, folder=module, environment=env, on_line=on_line)
        if done.status == 0:
            return done
        last = "".join(f"\n        {line}" for line in done.lines[-LINES_TOLD:])
        if _NO_NETWORK.search("\n".join(done.lines)):
            self._offline = True
            proxy = os.environ.get("GOPROXY") or "Go's default"
            raise NotObtainedError(f"Go build: the Go modules cannot be downloaded (GOPROXY: {proxy}):{last}")
        raise NotObtainedError(f"Go build: go {command[1]} ended with {done.status}, its last lines:{last}")


def go_tool(module: Path) -> Path:
    """The `go` command; NotObtainedError says why there is none, or none that will do."""
    found = shutil.which("go") or (str(USUAL_PLACE) if os.access(USUAL_PLACE, os.X_OK) else None)
    needs = _NEEDS.search((module / "go.mod").read_text(encoding="utf-8"))
    assert needs is not None
    wanted = f"Go {needs[1]}.{needs[2]} or newer"
    if found is None:
        raise NotObtainedError(f"Go build: no go on the PATH nor at {USUAL_PLACE} ({wanted} is needed)")
    done = subprocess.run([found, "version"], capture_output=True, text=True, env=environment(), check=False)
    said = _IS.search(done.stdout)
    if said is None:
        raise NotObtainedError(f"Go build: {found} does not say its version: {(done.stdout + done.stderr).strip()!r}")
    if (int(said[1]), int(said[2])) < (int(needs[1]), int(needs[2])):
        raise NotObtainedError(f"Go build: {found} is Go {said[1]}.{said[2]}, needed is {wanted}")
    return Path(found)


def environment(build_cache: Path | None = None) -> dict[str, str]:
    """The person's environment without what would change the outcome (their proxies and module cache stay)."""
    hurtful = ("GOOS", "GOARCH", "GOEXPERIMENT", "GO111MODULE", "GOTMPDIR", "GOBIN")
    env = {name: value for name, value in os.environ.items() if name not in hurtful}
    env.setdefault("HOME", str(Path.home()))
    # Set, not left empty: an empty variable would let `go env -w GOFLAGS=…` through.
    env |= {"GOTOOLCHAIN": "local", "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOWORK": "off"}
    if build_cache is not None:
        env["GOCACHE"] = str(build_cache)
    return env


class Told:
    """Turns go's lines into progress: how long it has been, how much is compiled, and what."""

    EVERY_SECONDS = 10.0

    def __init__(self, name: str, packages: int, on_progress: Callable[[str], None]) -> None:
        self._name = name
        self._packages = packages
        self._on_progress = on_progress
        self._started = self._said_at = time.monotonic()
        self._count = 0
        if packages:
            on_progress(f"{name}: building with Go")

    def downloaded(self, line: str) -> None:
        if line.startswith("go: downloading "):
            self._count += 1
            self._say(f"Go modules, {self._count} so far ({line.removeprefix('go: downloading ')})")

    def compiled(self, line: str) -> None:
        if not line.startswith(("go: ", "#")):
            self._count += 1
            self._say(f"compiled {self._count} of at most {self._packages} packages ({line})")

    def done(self, output: Path) -> None:
        self._on_progress(f"{self._name}: built, {output.stat().st_size / 1e6:.0f} MB, {self._elapsed()}")

    def _say(self, text: str) -> None:
        if time.monotonic() - self._said_at >= self.EVERY_SECONDS:
            self._said_at = time.monotonic()
            self._on_progress(f"{self._name}: {self._elapsed()}, {text}")

    def _elapsed(self) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self._started), 60)
        return f"{minutes}:{seconds:02d}"
