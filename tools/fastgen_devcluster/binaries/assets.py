"""Manifests that an upstream ships in its source: by URL, or out of its Go module. Every file's digest is pinned."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from fastgen.errors import UnknownOptionError
from fastgen_devcluster.binaries import download
from fastgen_devcluster.binaries.cache import GOTOOLS, Cache
from fastgen_devcluster.binaries.errors import BinariesError, NotObtainedError
from fastgen_devcluster.binaries.following import follow
from fastgen_devcluster.binaries.gobuild import environment, go_tool
from fastgen_devcluster.versions import ASSETS, Asset


def obtain(name: str, on_progress: Callable[[str], None] = print, *, cache: Cache | None = None) -> Path:
    """The folder with the YAML files of an asset, got where the cache has none; BinariesError lists what was tried.

    `kubectl apply --server-side -f FOLDER` takes it as it is (client-side apply cannot: the CRDs are too large for it).
    """
    known = {asset.name: asset for asset in ASSETS}
    if name not in known:
        raise UnknownOptionError(name, known, "the assets of a devcluster")
    asset, cache = known[name], cache or Cache()
    folder = cache.folder / f"{asset.name}-{asset.version}"
    if not _whole(asset, folder):
        with cache.locked(on_progress):
            if not _whole(asset, folder):
                _get(asset, folder, cache, on_progress)
    return folder


def _whole(asset: Asset, folder: Path) -> bool:
    return all((folder / file.name).exists() for file in asset.files)


def _get(asset: Asset, folder: Path, cache: Cache, on_progress: Callable[[str], None]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = cache.unfinished(folder)
    tried = []
    for way in (_by_url, _from_module):
        try:
            for name, got in way(asset, unfinished, on_progress):
                got.replace(folder / name)
        except NotObtainedError as failure:
            tried.append(f"\n  - {failure}")
        else:
            shutil.rmtree(unfinished)
            return
    raise BinariesError(
        f"the manifests {asset.name} {asset.version} could not be had:{''.join(tried)}\n"
        f"put {', '.join(file.name for file in asset.files)} into {folder} by hand, or run this once with a network"
    )


def _by_url(asset: Asset, unfinished: Path, on_progress: Callable[[str], None]) -> Iterator[tuple[str, Path]]:
    away = download.unreachable(file.url for file in asset.files)
    if away:
        raise NotObtainedError("; ".join(f"{host} cannot be reached ({why})" for host, why in away.items()))
    for file in asset.files:
        source = download.Source(file.name, file.url, file.sha256)
        yield file.name, download.download(source, unfinished / file.name, on_progress)


def _from_module(asset: Asset, unfinished: Path, on_progress: Callable[[str], None]) -> Iterator[tuple[str, Path]]:
    module = f"{asset.module}@v{asset.version}"
    on_progress(f"{asset.name}: downloading the Go module {module}")
    go = go_tool(GOTOOLS / "kubernetes")
    # Our own digests judge the files: no checksum database is needed.
    env = environment() | {"GOFLAGS": "-mod=mod", "GOSUMDB": "off"}
    command = [str(go), "mod", "download", "-json", module]
    done = follow(command, folder=unfinished, environment=env)
    answer = json.loads(done.output) if done.output.strip() else {}
    if done.status != 0 or "Dir" not in answer:
        why = answer.get("Error") or "\n".join(done.lines[-5:]) or f"go ended with {done.status}"
        raise NotObtainedError(f"Go module {module}: {why}")
    for file in asset.files:
        copy = unfinished / file.name
        copy.write_bytes((Path(answer["Dir"]) / file.in_module).read_bytes())
        if download.sha256_of(copy) != file.sha256:
            raise NotObtainedError(f"Go module {module}: {file.in_module} has not the SHA-256 that is pinned")
        yield file.name, copy
