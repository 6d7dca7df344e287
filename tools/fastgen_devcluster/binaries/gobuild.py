"""Building a binary with the Go toolchain, from the modules under `gotools/`.

Go's build cache is a folder of ours (6 GB for everything), removed when all is built; its module cache is the person's
own, as for anything they build with Go. An interrupted build goes on where it was.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from fastgen_devcluster.binaries.cache import GOTOOLS, Cache
from fastgen_devcluster.binaries.errors import NotObtainedError
from fastgen_devcluster.versions import Family, Program

USUAL_PLACE = Path("/usr/local/go/bin/go")
_NEEDS = re.compile(r"^go (\d+)\.(\d+)", re.MULTILINE)
_IS = re.compile(r"go(\d+)\.(\d+)")


def go_tool(family: Family) -> Path:
    """The `go` command; NotObtainedError says why there is none, or none that will do."""
    found = shutil.which("go") or (str(USUAL_PLACE) if os.access(USUAL_PLACE, os.X_OK) else None)
    needs = _NEEDS.search((GOTOOLS / family.name / "go.mod").read_text(encoding="utf-8"))
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
    hurtful = ("GOFLAGS", "GOOS", "GOARCH", "GOEXPERIMENT", "GOWORK", "GO111MODULE", "GOTMPDIR", "GOBIN")
    env = {name: value for name, value in os.environ.items() if name not in hurtful}
    # Set, not left empty: an empty variable would let `go env -w GOFLAGS=…` through.
    env |= {"GOTOOLCHAIN": "local", "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOWORK": "off"}
    if build_cache is not None:
        env["GOCACHE"] = str(build_cache)
    return env


def build(family: Family, program: Program, cache: Cache, on_progress: Callable[[str], None]) -> Path:
    """Build one program and put it into the cache."""
    go = go_tool(family)
    output = cache.unfinished(family) / program.name
    command = [str(go), "build", "-trimpath", "-ldflags", " ".join(("-s", "-w", *family.ldflags))]
    command += ["-tags", ",".join(family.tags)] if family.tags else []
    command += ["-o", str(output), program.package]
    on_progress(f"{program.name}: building")
    done = subprocess.run(
        command, cwd=GOTOOLS / family.name, env=environment(cache.go_build), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise NotObtainedError(f"Go build: {done.stderr[-2000:]}")
    return cache.keep(family, program.name, output)
