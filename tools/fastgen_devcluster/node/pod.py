"""One pod's life on this node: volumes, init containers, containers, and its end."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fastgen_devcluster.errors import DevClusterError
from fastgen_devcluster.node.addresses import AddressPool
from fastgen_devcluster.node.api import Api, KubeObject
from fastgen_devcluster.node.container import Container
from fastgen_devcluster.node.current_files import CurrentFiles
from fastgen_devcluster.node.ending import Ending, first_of
from fastgen_devcluster.node.environment import Known
from fastgen_devcluster.node.fields import Addresses
from fastgen_devcluster.node.host_paths import HostPaths, UnknownHostPathError
from fastgen_devcluster.node.log_server import ContainerLog
from fastgen_devcluster.node.pod_parts import NodeParts, PodParts
from fastgen_devcluster.node.pod_status import StatusWriter
from fastgen_devcluster.node.references import NamespaceObjects
from fastgen_devcluster.node.status import Seen, is_sidecar, view_of
from fastgen_devcluster.node.tokens import PodTokens
from fastgen_devcluster.node.unsupported import refusals, refused_changes
from fastgen_devcluster.node.views import Running, Terminated, View, Waiting, timestamp
from fastgen_devcluster.node.volumes import VolumeMaker

UNSUPPORTED = "UnsupportedByProcessNode"
REFUSAL_SECONDS = 10.0
"""How long a pod that cannot run here waits before it fails: a ReplicaSet replaces a failed pod at once, for ever."""
MOUNT_RETRY_FIRST_SECONDS = 0.5
MOUNT_RETRY_MOST_SECONDS = 30.0
ENDED_PODS = 100
"""So many ended pods' logs are kept."""


class Host(NamedTuple):
    """The node a pod is on."""

    name: str
    ip: str
    allocatable: Mapping[str, str]


class PodWorker:
    """One pod. `run` until it is gone; `update` with each new state of it."""

    def __init__(self, pod: KubeObject, node: NodeParts, api: Api, host: Host, pool: AddressPool) -> None:
        self.pod = pod
        self.host = host
        self._node = node
        self._api = api
        self._pool = pool
        self._ending = Ending()
        self._sidecar_endings: list[Ending] = []
        self._failure: tuple[str, str] | None = None
        self._is_abandoned = False
        self._is_mounted = False
        self._is_to_live = pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")
        metadata = pod["metadata"]
        self.name = f"{metadata['namespace']}_{metadata['name']}"
        self.folder = node.settings.folder / "pods" / self.name
        address = pool.take() if self._is_to_live else ""
        known = Known(pod, Addresses(address, host.ip), host.allocatable, NamespaceObjects(api, metadata["namespace"]))
        self._parts = PodParts(node, known, self.folder, node.settings.folder / "volumes" / metadata["uid"][:8])
        host_paths = HostPaths(node.settings.host_paths, api, metadata["namespace"])
        tokens = PodTokens(api, pod)
        self._volumes = VolumeMaker(self._parts, tokens, host_paths)
        volumes = pod["spec"].get("volumes", ())
        self._files = CurrentFiles(volumes, self._volumes, tokens, api, metadata["namespace"])
        self._writer = StatusWriter(api, pod, self._seen)
        self._started_at = pod.get("status", {}).get("startTime") or timestamp()
        spec, status = pod["spec"], pod.get("status", {})
        self._init = self._containers(spec.get("initContainers", ()), status.get("initContainerStatuses"), is_init=True)
        self._main = self._containers(spec["containers"], status.get("containerStatuses"), is_init=False)

    def _containers(self, specs: Any, statuses: Any, *, is_init: bool) -> list[Container]:
        before = {status["name"]: _interrupted(view_of(status)) for status in statuses or ()}
        return [
            Container(spec, self._parts, is_init=is_init, before=before.get(spec["name"]), changed=self._changed)
            for spec in specs
        ]

    def update(self, pod: KubeObject) -> None:
        """The API server has it like this now."""
        if any(pod["metadata"].get(kind) != self.pod["metadata"].get(kind) for kind in ("labels", "annotations")):
            self._files.changed.set()
        for reason in refused_changes(self.pod, pod):
            self._parts.emit("Warning", UNSUPPORTED, reason)
        self.pod = pod
        self._parts.known = self._parts.known._replace(pod=pod)
        self._writer.update(pod)
        if "deletionTimestamp" in pod["metadata"]:
            grace_seconds = pod["metadata"].get("deletionGracePeriodSeconds", 30)
            self._end(asyncio.get_running_loop().time() + grace_seconds)

    def find_log(self, container: str) -> ContainerLog | None:
        """Where a container's log is; None where there is no such container."""
        for one in (*self._init, *self._main):
            if one.view.name == container:
                return ContainerLog(self.folder / container, one.view.restarts, isinstance(one.view.state, Running))
        return None

    def report(self, message: str) -> None:
        """Say it in an event."""
        self._parts.emit("Warning", "FailedSync", message)

    def gone(self) -> None:
        """The API server has it no more: it was deleted by force."""
        self._writer.close()
        self._end(asyncio.get_running_loop().time())

    def abandon(self, stop_seconds: float) -> None:
        """This node ends; the pod stays as it is on record."""
        self._is_abandoned = True
        self._writer.close()
        self._end(asyncio.get_running_loop().time() + stop_seconds, has_hooks=False)

    def _end(self, kill_at: float, *, has_hooks: bool = True) -> None:
        self._ending.ask(kill_at, has_hooks=has_hooks)
        for ending in self._sidecar_endings:
            if ending.is_asked:
                ending.ask(kill_at, has_hooks=has_hooks)

    def _changed(self) -> None:
        self._writer.write_soon()

    def _seen(self) -> Seen:
        return Seen(
            [container.view for container in self._init],
            [container.view for container in self._main],
            self._parts.known.addresses if self._is_mounted else None,
            self._started_at,
            timestamp(),
            self._failure,
        )

    async def run(self) -> None:
        """Until the pod is gone, from here and from the API server."""
        writing = asyncio.create_task(self._writer.run())
        try:
            if self._is_to_live:
                try:
                    await self._live()
                finally:
                    self._pool.give_back(self._parts.known.addresses.pod_ip)
                await self._writer.flush()
            if not self._is_abandoned:
                await self._ending.asked()
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
        if not self._is_abandoned:
            self._clear()
            await self._writer.delete()

    async def _live(self) -> None:
        if reasons := refusals(self.pod):
            await self._refuse("; ".join(reasons))
            return
        self._begin_folder()
        self._writer.write_soon()
        if not await self._mount():
            return
        self._is_mounted = True
        self._writer.write_soon()
        deadline = asyncio.create_task(self._deadline())
        refreshing = asyncio.create_task(self._files.run())
        sidecars: list[tuple[Container, Ending, asyncio.Task[None]]] = []
        try:
            if await self._initialize(sidecars):
                await asyncio.gather(*(container.run(self._ending) for container in self._main))
        finally:
            await self._end_sidecars(sidecars)
            for task in (deadline, refreshing):
                task.cancel()
            await asyncio.gather(deadline, refreshing, return_exceptions=True)

    async def _refuse(self, message: str) -> None:
        """Say why, and fail after a while."""
        self._parts.emit("Warning", UNSUPPORTED, message)
        for container in (*self._init, *self._main):
            container.show(state=Waiting(UNSUPPORTED, message))
        await self._ending.sleep(REFUSAL_SECONDS)
        self._failure = (UNSUPPORTED, message)
        self._changed()

    def _begin_folder(self) -> None:
        """The pod's folder; one that an earlier pod of this name left is not ours."""
        owner = self.folder / "uid"
        uid = self.pod["metadata"]["uid"]
        if self.folder.exists() and not (owner.exists() and owner.read_text() == uid):
            shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        owner.write_text(uid)

    async def _mount(self) -> bool:
        """Make all volumes, as often as it takes. False where the end was asked for, or this node never can."""
        delay_seconds = MOUNT_RETRY_FIRST_SECONDS
        for volume in self.pod["spec"].get("volumes", ()):
            while volume["name"] not in self._parts.volumes:
                if self._ending.is_asked:
                    return False
                try:
                    self._parts.volumes[volume["name"]] = await self._volumes.make(volume)
                except UnknownHostPathError as error:
                    await self._refuse(f"volume {volume['name']}: {error}")
                    return False
                except (DevClusterError, OSError) as error:
                    message = f'MountVolume.SetUp failed for volume "{volume["name"]}": {error}'
                    self._parts.emit("Warning", "FailedMount", message)
                    await self._ending.sleep(delay_seconds)
                    delay_seconds = min(2 * delay_seconds, MOUNT_RETRY_MOST_SECONDS)
        return True

    async def _initialize(self, sidecars: list[tuple[Container, Ending, asyncio.Task[None]]]) -> bool:
        """Run init containers one after the other. Whether the main containers may begin."""
        for container in self._init:
            if self._ending.is_asked:
                return False
            if is_sidecar(container.spec):
                ending = Ending()
                self._sidecar_endings.append(ending)
                sidecars.append((container, ending, asyncio.create_task(container.run(ending))))
                await first_of(container.has_started.wait(), self._ending.asked())
            else:
                await container.run(self._ending)
                state = container.view.state
                if not (isinstance(state, Terminated) and state.exit_code == 0):
                    return False
        return not self._ending.is_asked

    async def _end_sidecars(self, sidecars: list[tuple[Container, Ending, asyncio.Task[None]]]) -> None:
        """The last one first, each after those it served."""
        grace_seconds = self.pod["spec"].get("terminationGracePeriodSeconds", 30)
        kill_at = min(self._ending.kill_at, asyncio.get_running_loop().time() + grace_seconds)
        for _, ending, task in reversed(sidecars):
            ending.ask(min(kill_at, self._ending.kill_at), has_hooks=self._ending.has_hooks)
            await task

    async def _deadline(self) -> None:
        """spec.activeDeadlineSeconds."""
        seconds = self.pod["spec"].get("activeDeadlineSeconds")
        if seconds is not None:
            await asyncio.sleep(seconds)
            self._failure = ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
            self._end(asyncio.get_running_loop().time() + self.pod["spec"].get("terminationGracePeriodSeconds", 30))

    def _clear(self) -> None:
        """Remove the pod's folder, except for its logs, which go to `ended` beside `pods`."""
        ended = self._node.settings.folder / "ended"
        kept = ended / f"{self.name}_{self.pod['metadata']['uid'][:8]}"
        for log in self.folder.glob("*/*.log*"):
            place = kept / log.parent.name / log.name
            place.parent.mkdir(parents=True, exist_ok=True)
            log.rename(place)
        for folder in (self.folder, self._parts.volumes_folder):
            shutil.rmtree(folder, ignore_errors=True)
        _keep_newest(ended, ENDED_PODS)


def _interrupted(view: View) -> View:
    """A container as an earlier node process left it: what ran then has ended with that process."""
    if isinstance(view.state, Running):
        ended = Terminated(255, "Unknown", view.state.started_at, timestamp(), container_id=view.container_id)
        return view._replace(state=ended)
    return view


def _keep_newest(folder: Path, most: int) -> None:
    if folder.exists():
        for old in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)[:-most]:
            shutil.rmtree(old, ignore_errors=True)
