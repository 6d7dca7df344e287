"""Paths on a node, and the local folders that stand for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from fastgen_devcluster.errors import DevClusterError
from fastgen_devcluster.node.api import Api, ApiError
from fastgen_devcluster.node.references import NOT_FOUND

VOLUMES_PATH = "/var/lib/devcluster/volumes"
"""A node path that every node has: for PersistentVolumes that are to outlive their pods."""


class HostPathError(DevClusterError):
    """A path that is not there, or not what it was said to be; a kubelet looks again later."""


class UnknownHostPathError(DevClusterError):
    """A path that no local folder stands for: it will not appear by waiting."""


class HostPaths:
    """Node path prefixes and their folders; claims of one namespace by the volumes they are bound to."""

    def __init__(self, folders: Mapping[str, Path], api: Api, namespace: str) -> None:
        self._folders = folders
        self._api = api
        self._namespace = namespace

    def resolve(self, path: str, kind: str) -> Path:
        """The local path for `path`, checked as hostPath.type asks. Raises HostPathError, UnknownHostPathError."""
        local = local_path(path, self._folders)
        match kind:
            case "DirectoryOrCreate":
                local.mkdir(parents=True, exist_ok=True)
            case "FileOrCreate":
                local.touch()
        checks = {
            "Directory": local.is_dir,
            "DirectoryOrCreate": local.is_dir,
            "File": local.is_file,
            "FileOrCreate": local.is_file,
            "Socket": local.is_socket,
        }
        if kind and kind not in checks:
            raise UnknownHostPathError(f"hostPath.type {kind}: this node has no devices")
        if kind and not checks[kind]():
            raise HostPathError(f"hostPath type check failed: {path} is not a {kind} (it is {local} on this machine)")
        if not local.exists():  # without a type a runtime makes a folder
            local.mkdir(parents=True)
        return local

    async def of_claim(self, claim: str) -> Path:
        """The folder of the volume the claim is bound to. Raises HostPathError, UnknownHostPathError, ApiError."""
        try:
            found = await self._api.request(
                "GET", f"/api/v1/namespaces/{self._namespace}/persistentvolumeclaims/{claim}"
            )
        except ApiError as error:
            if error.status == NOT_FOUND:
                raise HostPathError(f'persistentvolumeclaim "{claim}" not found') from None
            raise
        name = found["spec"].get("volumeName")
        if not name or found.get("status", {}).get("phase") != "Bound":
            raise HostPathError(f'persistentvolumeclaim "{claim}" is not bound to a volume')
        volume = (await self._api.request("GET", f"/api/v1/persistentvolumes/{name}"))["spec"]
        if "hostPath" in volume:
            return self.resolve(volume["hostPath"]["path"], volume["hostPath"].get("type") or "")
        if "local" in volume:
            return self.resolve(volume["local"]["path"], "Directory")
        raise UnknownHostPathError(
            f"claim {claim}: volume {name} is neither a hostPath nor a local one, and this node mounts nothing else; "
            f"a PersistentVolume with hostPath {VOLUMES_PATH}/NAME and type DirectoryOrCreate works"
        )


def local_path(path: str, folders: Mapping[str, Path]) -> Path:
    """Where `path` on a node is on this machine. Raises UnknownHostPathError."""
    parts = PurePosixPath(path)
    if ".." in parts.parts:
        raise UnknownHostPathError(f"hostPath {path}: must not contain '..'")
    for prefix in sorted(folders, key=len, reverse=True):
        if parts.is_relative_to(prefix):
            return folders[prefix] / parts.relative_to(prefix)
    known = ", ".join(sorted(folders)) or "none"
    raise UnknownHostPathError(
        f"hostPath {path}: no folder of this machine stands for it (known: {known}); "
        "give it one with --host-path PATH=FOLDER"
    )
