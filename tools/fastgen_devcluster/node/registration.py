"""A node as the API server knows it: its Node object, and the Lease that says it lives."""

from __future__ import annotations

import asyncio
import logging
import os
import platform
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime

from fastgen_devcluster.node.addresses import KUBELET_PORT
from fastgen_devcluster.node.api import MERGE_PATCH, STRATEGIC_MERGE_PATCH, Api, ApiError, KubeObject
from fastgen_devcluster.node.views import timestamp

logger = logging.getLogger(__name__)

KUBELET_VERSION = "v1.36.3"
LEASE_SECONDS = 40
RENEW_SECONDS = 10.0
STATUS_SECONDS = 300.0
"""How often the Node's status is written though nothing changed, as a kubelet does."""
RETRY_SECONDS = 1.0
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
CONFLICT, NOT_FOUND = 409, 404
PRESSURES = {"MemoryPressure": "Memory", "DiskPressure": "Disk", "PIDPressure": "PID"}


class Registration:
    """One node: registers it, and keeps saying that it lives."""

    def __init__(self, api: Api, name: str, ip: str, capacity: Mapping[str, str]) -> None:
        self.name = name
        self._api = api
        self._ip = ip
        self._capacity = capacity
        self._ready_since = timestamp()

    async def run(self) -> None:
        """Register, then renew the Lease and now and then the status, until cancelled."""
        await self._until_done(self._register)
        written_at = asyncio.get_running_loop().time()
        while True:
            await self._until_done(self._renew)
            await asyncio.sleep(RENEW_SECONDS)
            if asyncio.get_running_loop().time() - written_at > STATUS_SECONDS:
                await self._until_done(self._write_status)
                written_at = asyncio.get_running_loop().time()

    async def _until_done(self, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await step()
                return
            except ApiError as error:
                logger.warning("%s: %s", self.name, error)
                await asyncio.sleep(RETRY_SECONDS)

    async def _register(self) -> None:
        try:
            await self._api.request("POST", "/api/v1/nodes", self._node())
        except ApiError as error:
            if error.status != CONFLICT:
                raise
            metadata = {"metadata": self._node()["metadata"]}
            await self._api.request("PATCH", f"/api/v1/nodes/{self.name}", metadata, content_type=MERGE_PATCH)
        await self._write_status()

    async def _write_status(self) -> None:
        status = {"status": self._status()}
        path = f"/api/v1/nodes/{self.name}/status"
        try:
            await self._api.request("PATCH", path, status, content_type=STRATEGIC_MERGE_PATCH)
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise
            await self._api.request("POST", "/api/v1/nodes", self._node())  # somebody deleted it, and it lives

    async def _renew(self) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {"holderIdentity": self.name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now}
        try:
            await self._api.request("PATCH", f"{LEASES}/{self.name}", {"spec": spec}, content_type=MERGE_PATCH)
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise
            await self._api.request("POST", LEASES, {"metadata": {"name": self.name}, "spec": spec})

    def _node(self) -> KubeObject:
        labels = {
            "kubernetes.io/hostname": self.name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": _architecture(),
            "fastgen.dev/process-node": "true",
        }
        return {"metadata": {"name": self.name, "labels": labels}, "status": self._status()}

    def _status(self) -> KubeObject:
        now = timestamp()
        ready = {"type": "Ready", "status": "True", "reason": "ProcessNodeReady", "message": "pods run as processes"}
        conditions = [ready]
        for kind, what in PRESSURES.items():
            conditions.append(
                {
                    "type": kind,
                    "status": "False",
                    "reason": f"Sufficient{what}",
                    "message": f"no {what} limit is watched",
                }
            )
        release = os.uname().release
        return {
            "capacity": dict(self._capacity),
            "allocatable": dict(self._capacity),
            "conditions": [
                {**condition, "lastHeartbeatTime": now, "lastTransitionTime": self._ready_since}
                for condition in conditions
            ],
            "addresses": [{"type": "InternalIP", "address": self._ip}, {"type": "Hostname", "address": self.name}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": KUBELET_PORT}},
            "nodeInfo": {
                "machineID": self.name,
                "systemUUID": self.name,
                "bootID": self.name,
                "kernelVersion": release,
                "osImage": "processes of this machine",
                "containerRuntimeVersion": "process://1",
                "kubeletVersion": KUBELET_VERSION,
                "kubeProxyVersion": "",
                "operatingSystem": "linux",
                "architecture": _architecture(),
            },
        }


def _architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
