"""What the containers of one pod share, and what each of them is started with."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

from fastgen_devcluster.node.cgroups import ControlGroups
from fastgen_devcluster.node.config import NodeSettings
from fastgen_devcluster.node.environment import Known, command_line, variables
from fastgen_devcluster.node.events import Recorder
from fastgen_devcluster.node.images import Image, ImageTable
from fastgen_devcluster.node.limits import Limits
from fastgen_devcluster.node.substitutions import SERVICE_ACCOUNT_MOUNT, Substitutions
from fastgen_devcluster.processes import FOLDER_VARIABLE

TERMINATION_LOG = "/dev/termination-log"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Launch(NamedTuple):
    """All it takes to start a container, with everything substituted."""

    image: Image
    command: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    """The container's own: logs, home, temporary files."""
    working_folder: Path
    termination_message: Path
    substitutions: Substitutions


class NodeParts(NamedTuple):
    """What all pods of this process share."""

    settings: NodeSettings
    images: ImageTable
    recorder: Recorder
    groups: ControlGroups | None
    server: str
    """URL of the API server."""


class PodParts:
    """What the containers of one pod share."""

    def __init__(self, node: NodeParts, known: Known, folder: Path, volumes_folder: Path) -> None:
        self.node = node
        self.known = known
        self.folder = folder
        """Logs, in a folder for each container."""
        self.volumes_folder = volumes_folder
        """Apart from the logs, and with a short path: a socket's path has at most 108 bytes, and TMPDIR is in here."""
        self.volumes: dict[str, Path] = {}
        """Volume to the folder that stands for it, once it is made."""

    @property
    def name(self) -> str:
        return str(self.known.pod["metadata"]["name"])

    def emit(self, kind: Literal["Normal", "Warning"], reason: str, message: str, container: str = "") -> None:
        self.node.recorder.emit(self.known.pod, kind, reason, message, container)

    def mark(self, identity: str) -> str:
        """What all processes of one run of a container carry in their environment."""
        return f"{self.node.settings.folder}:{identity}"

    def control_group(self, identity: str, limits: Limits) -> Path | None:
        """Raises OSError."""
        return None if self.node.groups is None else self.node.groups.make(identity, limits.cpu_cores)

    async def release(self, group: Path | None) -> None:
        if group is not None and self.node.groups is not None:
            await self.node.groups.remove(group)

    def discard(self, group: Path | None) -> None:
        """Remove a group that nothing was started in."""
        if group is not None:
            group.rmdir()

    async def launch(self, container: Mapping[str, Any], image: Image) -> Launch:
        """Raises MissingReferenceError, FieldError, ApiError."""
        folder = self.folder / container["name"]
        for part in (folder / "home", self._temporary(container)):
            part.mkdir(parents=True, exist_ok=True)
        message = folder / "termination-log"
        message.write_bytes(b"")
        mounts = self._mounts(container)
        replaced = {container.get("terminationMessagePath") or TERMINATION_LOG: message}
        substitutions = Substitutions({**mounts, **replaced}, self.known.addresses.pod_ip)
        given = await variables(container, self.known)
        own = {name: substitutions.in_text(value) for name, value in given.items()}
        environment = {**self._surroundings(container, folder, mounts), **own}
        command = command_line(container, image.entry_point, given, substitutions.in_text)
        working = substitutions.in_text(container["workingDir"]) if container.get("workingDir") else str(folder)
        return Launch(
            image,
            command,
            environment,
            folder,
            Path(working),
            message,
            substitutions,
        )

    def _temporary(self, container: Mapping[str, Any]) -> Path:
        return self.volumes_folder / f"{container['name']}.tmp"  # no volume's name has a dot

    def _mounts(self, container: Mapping[str, Any]) -> dict[str, Path]:
        """Mount path to the folder that stands for it."""
        mounts = {}
        for mount in container.get("volumeMounts", ()):
            folder = self.volumes[mount["name"]]
            if mount.get("subPath"):
                folder = folder / mount["subPath"]
                if not folder.exists():
                    folder.mkdir(parents=True)
            mounts[mount["mountPath"].rstrip("/")] = folder
        return mounts

    def _surroundings(self, container: Mapping[str, Any], folder: Path, mounts: Mapping[str, Path]) -> dict[str, str]:
        """What an image and a runtime would have given: nothing of who started the node."""
        settings = self.node.settings
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{SYSTEM_PATH}",
            "HOME": str(folder / "home"),
            "TMPDIR": str(mounts.get("/tmp", self._temporary(container))),  # noqa: S108 - the pod's own
            "LANG": "C.UTF-8",
            "HOSTNAME": self.known.pod["spec"].get("hostname") or self.known.pod["metadata"]["name"],
            **settings.environment,
        }
        if FOLDER_VARIABLE in os.environ:
            environment[FOLDER_VARIABLE] = os.environ[FOLDER_VARIABLE]
        if SERVICE_ACCOUNT_MOUNT in mounts:
            environment["KUBECONFIG"] = str(self._kubeconfig(folder, mounts[SERVICE_ACCOUNT_MOUNT]))
        return environment

    def _kubeconfig(self, folder: Path, account: Path) -> Path:
        """The pod's service account for clients outside of a cluster: the token is read from its file each time."""
        metadata = self.known.pod["metadata"]
        cluster = {"server": self.node.server, "certificate-authority": str(account / "ca.crt")}
        context = {"cluster": "cluster", "user": "pod", "namespace": metadata["namespace"]}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "cluster", "cluster": cluster}],
            "users": [{"name": "pod", "user": {"tokenFile": str(account / "token")}}],
            "contexts": [{"name": "pod", "context": context}],
            "current-context": "pod",
        }
        path = folder / "kubeconfig"
        path.write_text(yaml.safe_dump(config))
        return path
