"""A pod's volumes as folders."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from fastgen_devcluster.errors import DevClusterError
from fastgen_devcluster.node.environment import Known
from fastgen_devcluster.node.fields import field_value, resource_value
from fastgen_devcluster.node.host_paths import HostPaths
from fastgen_devcluster.node.references import MissingReferenceError, read

DEFAULT_MODE = 0o644
TOKEN_SECONDS = 3600
FILE_KINDS = ("configMap", "secret", "downwardAPI", "projected")
"""Volumes that are files from the API server, and follow what changes there."""


class File(NamedTuple):
    content: bytes
    mode: int = DEFAULT_MODE


class MountError(DevClusterError):
    """A volume that cannot be had now; a kubelet tries again."""


class Tokens(Protocol):
    """Who hands out service-account tokens for this pod."""

    async def token(self, audience: str | None, lifetime_seconds: int) -> str: ...


class VolumeMaker:
    """Makes the volumes of one pod in its folder, and keeps their files current."""

    def __init__(self, folder: Path, known: Known, tokens: Tokens, host_paths: HostPaths) -> None:
        self._folder = folder
        self._known = known
        self._tokens = tokens
        self._host_paths = host_paths

    async def make(self, volume: Mapping[str, Any]) -> Path:
        """The folder that stands for it. Raises MountError, MissingReferenceError, ApiError, FieldError."""
        if "hostPath" in volume:
            path: str = volume["hostPath"]["path"]
            return self._host_paths.resolve(path, volume["hostPath"].get("type") or "")
        if "persistentVolumeClaim" in volume:
            return await self._host_paths.of_claim(volume["persistentVolumeClaim"]["claimName"])
        folder = self._folder / str(volume["name"])
        folder.mkdir(parents=True, exist_ok=True)
        if "emptyDir" not in volume:
            write_files(folder, await self._files(volume))
        return folder

    async def refresh(self, volume: Mapping[str, Any]) -> None:
        """Write what changed. Raises as `make`; the files then stay as they were."""
        if any(kind in volume for kind in FILE_KINDS):
            write_files(self._folder / volume["name"], await self._files(volume))

    async def _files(self, volume: Mapping[str, Any]) -> dict[str, File]:
        for kind in FILE_KINDS[:-1]:
            if kind in volume:
                return await self._files_of(kind, volume[kind], volume[kind].get("defaultMode", DEFAULT_MODE))
        projected = volume["projected"]
        mode = projected.get("defaultMode", DEFAULT_MODE)
        files: dict[str, File] = {}
        for source in projected.get("sources", ()):
            ((kind, content),) = source.items()
            files |= await self._files_of(kind, content, mode)
        return files

    async def _files_of(self, kind: str, source: Mapping[str, Any], mode: int) -> dict[str, File]:
        match kind:
            case "configMap":
                return await self._chosen("configmaps", source, mode)
            case "secret":
                return await self._chosen("secrets", {"name": source.get("secretName"), **source}, mode)
            case "downwardAPI":
                return {
                    item["path"]: File(self._about(item), item.get("mode", mode)) for item in source.get("items", ())
                }
            case "serviceAccountToken":
                lifetime = source.get("expirationSeconds", TOKEN_SECONDS)
                token = await self._tokens.token(source.get("audience"), lifetime)
                return {source["path"]: File(token.encode(), 0o600)}
            case _:
                raise MountError(f"projected volume: this node cannot project {kind}")

    def _about(self, item: Mapping[str, Any]) -> bytes:
        known = self._known
        if "fieldRef" in item:
            return field_value(known.pod, item["fieldRef"]["fieldPath"], known.addresses).encode()
        reference = item["resourceFieldRef"]
        containers = known.pod["spec"]["containers"] + known.pod["spec"].get("initContainers", [])
        of = next(c for c in containers if c["name"] == reference["containerName"])
        return resource_value(of, reference, known.allocatable).encode()

    async def _chosen(self, kind: str, source: Mapping[str, Any], mode: int) -> dict[str, File]:
        """All keys of a ConfigMap or Secret, or its `items` at their paths."""
        data = await read(self._known.objects, kind, source)
        if data is None:
            return {}
        if not source.get("items"):
            return {key: File(value, mode) for key, value in data.items()}
        files = {}
        for item in source["items"]:
            if item["key"] in data:
                files[item["path"]] = File(data[item["key"]], item.get("mode", mode))
            elif not source.get("optional"):
                raise MissingReferenceError(f"{kind} {source['name']}: it has no key {item['key']}")
        return files


def write_files(folder: Path, files: Mapping[str, File]) -> None:
    """Make the folder hold exactly these files. Each is replaced in one step, and only where it differs."""
    for path in sorted(folder.rglob("*"), reverse=True):
        name = str(path.relative_to(folder))
        if path.is_file() and name not in files:
            path.unlink()
        elif path.is_dir() and not any(wanted.startswith(f"{name}/") for wanted in files):
            shutil.rmtree(path)
    for name, file in files.items():
        path = folder / name
        if path.is_file() and path.read_bytes() == file.content:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.new")
        beside.write_bytes(file.content)
        beside.chmod(file.mode)
        os.replace(beside, path)
