"""All nodes of one process: follows the pods bound to each, and gives every pod a worker."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from fastgen_devcluster.errors import DevClusterError
from fastgen_devcluster.node.addresses import AddressPool
from fastgen_devcluster.node.api import Api, Change, KubeObject
from fastgen_devcluster.node.cgroups import open_control_groups
from fastgen_devcluster.node.config import NodeSettings
from fastgen_devcluster.node.events import Recorder
from fastgen_devcluster.node.host_paths import VOLUMES_PATH
from fastgen_devcluster.node.images import ImageTable, read_table
from fastgen_devcluster.node.local_process import kill_marked
from fastgen_devcluster.node.log_server import ContainerLog, LogServer
from fastgen_devcluster.node.pod import Host, PodWorker
from fastgen_devcluster.node.pod_parts import NodeParts
from fastgen_devcluster.node.registration import Registration

logger = logging.getLogger(__name__)

ADDRESS_RETRY_SECONDS = 1.0


class ProcessNode:
    """The nodes named in the settings. `run` until cancelled."""

    def __init__(self, settings: NodeSettings) -> None:
        """Takes the folder and a network of addresses, and ends what an earlier process of this folder left.

        Raises DevClusterError.
        """
        folder = settings.folder
        volumes = folder / "persistent"
        for part in (folder / "pods", volumes):
            part.mkdir(parents=True, exist_ok=True)
        self._settings = NodeSettings(
            config=settings.config,
            host_paths={VOLUMES_PATH: volumes, **settings.host_paths},
            environment=settings.environment,
        )
        images = Path(settings.config.images)
        read_table(images)
        killed = kill_marked(f"{folder}:")
        if killed:
            logger.info("ended %d processes that an earlier node left", killed)
        self._images = ImageTable(images)
        self._groups = open_control_groups(folder)
        self._pool = AddressPool(folder, settings.node_names)
        self._workers: dict[str, PodWorker] = {}
        """By the pod's uid."""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._by_name: dict[str, asyncio.Task[None]] = {}
        """The task of the last pod of a name: the next one of that name begins after it."""

    async def run(self) -> None:
        """Play all nodes until cancelled; then end all pods' processes."""
        async with Api(Path(self._settings.config.kubeconfig)) as api:
            parts = NodeParts(self._settings, self._images, Recorder(api), self._groups, api.server)
            capacity = self._settings.capacity(self._pool.pods_per_node)
            try:
                async with LogServer(self._pool, api, self._find_log), asyncio.TaskGroup() as group:
                    for name, ip in self._pool.of_node.items():
                        group.create_task(Registration(api, name, ip, capacity).run())
                        group.create_task(self._follow(api, Host(name, ip, capacity), parts))
            finally:
                await self._end_all()

    def _find_log(self, namespace: str, pod: str, container: str) -> ContainerLog | None:
        for worker in self._workers.values():
            if worker.name == f"{namespace}_{pod}":
                return worker.find_log(container)
        return None

    async def _follow(self, api: Api, host: Host, parts: NodeParts) -> None:
        async for change in api.follow("/api/v1/pods", {"fieldSelector": f"spec.nodeName={host.name}"}):
            self._take(change, api, host, parts)

    def _take(self, change: Change, api: Api, host: Host, parts: NodeParts) -> None:
        if change.kind == "replace":
            there = {pod["metadata"]["uid"] for pod in change.objects}
            for uid, worker in self._workers.items():
                if worker.host == host and uid not in there:
                    worker.gone()
        for pod in change.objects:
            known = self._workers.get(pod["metadata"]["uid"])
            if change.kind == "delete":
                if known is not None:
                    known.gone()
            elif known is not None:
                known.update(pod)
            else:
                self._begin(pod, api, host, parts)

    def _begin(self, pod: KubeObject, api: Api, host: Host, parts: NodeParts) -> None:
        uid, name = pod["metadata"]["uid"], f"{pod['metadata']['namespace']}_{pod['metadata']['name']}"
        try:
            worker = PodWorker(pod, parts, api, host, self._pool)
        except DevClusterError as error:
            parts.recorder.emit(pod, "Warning", "OutOfAddresses", str(error))
            return
        self._workers[uid] = worker
        before = self._by_name.get(name)
        task = asyncio.create_task(self._work(worker, before), name=name)
        self._tasks[uid] = self._by_name[name] = task
        task.add_done_callback(lambda _: self._forget(uid, name, task))

    async def _work(self, worker: PodWorker, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait({before})
        worker.update(worker.pod)
        await worker.run()

    def _forget(self, uid: str, name: str, task: asyncio.Task[None]) -> None:
        worker = self._workers.pop(uid)
        del self._tasks[uid]
        if self._by_name.get(name) is task:
            del self._by_name[name]
        if not task.cancelled() and (error := task.exception()):
            logger.error("pod %s: the node failed it", name, exc_info=error)
            worker.report(f"this node has an error of its own: {error!r}; its log has more")

    async def _end_all(self) -> None:
        for worker in self._workers.values():
            worker.abandon(self._settings.config.stop_seconds)
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._pool.close()
        if self._groups is not None:
            self._groups.close()
