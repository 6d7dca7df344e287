"""A pod's volumes as folders."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from fastgen_devcluster.errors import DevClusterError
from fastgen_devcluster.node.fields import field_value, resource_value
from fastgen_devcluster.node.host_paths import HostPaths
from fastgen_devcluster.node.pod_parts import PodParts
from fastgen_devcluster.node.references import SINGULAR, MissingReferenceError, read

DEFAULT_MODE = 0o644
TOKEN_SECONDS = 3600
FILE_KINDS = ("configMap", "secret", "downwardAPI")
"""Volumes that are files from the API server; a projected one has several of them."""


class Source(NamedTuple):
    """Where some of a volume's files come from."""

    kind: str
    content: Mapping[str, Any]
    mode: int

    @property
    def reads(self) -> tuple[str, str] | None:
        """The resource and the name of the object that is read for it."""
        if self.kind == "configMap":
            return "configmaps", self.content.get("name", "")
        if self.kind == "secret":
            return "secrets", self.content.get("secretName") or self.content.get("name", "")
        return None


def sources_of(volume: Mapping[str, Any]) -> list[Source]:
    """What a volume's files are made from; nothing where it is a folder only."""
    if "projected" in volume:
        mode = volume["projected"].get("defaultMode", DEFAULT_MODE)
        return [
            Source(kind, content, mode)
            for source in volume["projected"].get("sources", ())
            for kind, content in source.items()
        ]
    return [
        Source(kind, volume[kind], volume[kind].get("defaultMode", DEFAULT_MODE))
        for kind in FILE_KINDS
        if kind in volume
    ]


class File(NamedTuple):
    content: bytes
    mode: int = DEFAULT_MODE


class MountError(DevClusterError):
    """A volume that cannot be had now; a kubelet tries again."""


class Tokens(Protocol):
    """Who hands out service-account tokens for this pod."""

    async def token(self, audience: str | None, lifetime_seconds: int) -> str: ...


class VolumeMaker:
    """Makes the volumes of one pod in its folder, and makes them anew where what they are made of has changed."""

    def __init__(self, parts: PodParts, tokens: Tokens, host_paths: HostPaths) -> None:
        self._parts = parts
        self._tokens = tokens
        self._host_paths = host_paths

    async def make(self, volume: Mapping[str, Any]) -> Path:
        """The folder that stands for it.

        Raises MountError, MissingReferenceError, HostPathError, UnknownHostPathError, FieldError or ApiError.
        """
        if "hostPath" in volume:
            path: str = volume["hostPath"]["path"]
            return self._host_paths.resolve(path, volume["hostPath"].get("type") or "")
        if "persistentVolumeClaim" in volume:
            return await self._host_paths.of_claim(volume["persistentVolumeClaim"]["claimName"])
        folder: Path = self._parts.volumes_folder / str(volume["name"])
        os.makedirs(folder, exist_ok=True)
        if "emptyDir" not in volume:
            files: dict[str, File] = {}
            for source in sources_of(volume):
                files |= await self._files_of(source)
            write_files(folder, files)
        return folder

    async def _files_of(self, source: Source) -> dict[str, File]:
        content, mode = source.content, source.mode
        match source.kind:
            case "configMap" | "secret":
                return await self._chosen(source)
            case "downwardAPI":
                return {
                    item["path"]: File(self._about(item), item.get("mode", mode)) for item in content.get("items", ())
                }
            case "serviceAccountToken":
                lifetime = content.get("expirationSeconds", TOKEN_SECONDS)
                token = await self._tokens.token(content.get("audience"), lifetime)
                return {content["path"]: File(token.encode(), 0o600)}
        raise MountError(f"projected volume: this node cannot project {source.kind}")

    def _about(self, item: Mapping[str, Any]) -> bytes:
        known = self._parts.known
        if "fieldRef" in item:
            return field_value(known.pod, item["fieldRef"]["fieldPath"], known.addresses).encode()
        reference = item["resourceFieldRef"]
        containers = known.pod["spec"]["containers"] + known.pod["spec"].get("initContainers", [])
        of = next(c for c in containers if c["name"] == reference["containerName"])
        return resource_value(of, reference, known.allocatable).encode()

    async def _chosen(self, source: Source) -> dict[str, File]:
        """All keys of a ConfigMap or Secret, or its `items` at their paths."""
        content, mode = source.content, source.mode
        resource, name = source.reads or ("", "")
        data = await read(self._parts.known.objects, resource, {**content, "name": name})
        if data is None:
            return {}
        if not content.get("items"):
            return {key: File(value, mode) for key, value in data.items()}
        files = {}
        for item in content["items"]:
            if item["key"] in data:
                files[item["path"]] = File(data[item["key"]], item.get("mode", mode))
            elif not content.get("optional"):
                raise MissingReferenceError(f"{SINGULAR[resource]} {name}: it has no key {item['key']}")
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
