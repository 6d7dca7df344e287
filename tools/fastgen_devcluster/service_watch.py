"""The Services and pods of a cluster, kept current by watching the API server."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from typing import Any

import aiohttp

from fastgen_devcluster.services import Address, Manifest, NoAddressError, ServiceKey, ready_addresses

WATCH_SECONDS = 300
"""How long one watch lasts before it is asked for again."""
RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0)
MAX_LINE_BYTES = 4 * 1024 * 1024
"""The longest object that is understood; etcd takes 1.5 MiB."""

log = logging.getLogger(__name__)


class Collection:
    """Every object of one kind, by namespace and name."""

    def __init__(self, session: aiohttp.ClientSession, path: str) -> None:
        """`session` has the API server as its base URL; `path` is the collection's, such as /api/v1/pods."""
        self._session = session
        self._path = path
        self.objects: dict[ServiceKey, Manifest] = {}
        self.listed = asyncio.Event()
        """Set once everything there was has been read."""

    async def follow(self) -> None:
        """Runs until cancelled. While the API server is away, what was known last stands."""
        failures = 0
        while True:
            try:
                version = await self._list()
                failures = 0
                while version:
                    version = await self._watch(version)
            except (aiohttp.ClientError, TimeoutError, ValueError, KeyError) as error:
                log.warning("%s: %s; trying again", self._path, error or type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)])
                failures += 1

    async def _list(self) -> str:
        async with self._session.get(self._path, timeout=aiohttp.ClientTimeout(30)) as answer:
            answer.raise_for_status()
            found = await answer.json()
        self.objects = {_key(item): item for item in found["items"]}
        self.listed.set()
        return str(found["metadata"]["resourceVersion"])

    async def _watch(self, version: str) -> str:
        """Follow changes since `version`. Answers where to go on; empty where everything has to be read again."""
        query = {"watch": "1", "resourceVersion": version, "allowWatchBookmarks": "1"}
        query["timeoutSeconds"] = str(WATCH_SECONDS)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=WATCH_SECONDS + 10)
        async with self._session.get(self._path, params=query, timeout=timeout) as answer:
            answer.raise_for_status()
            async for line in answer.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    log.info("%s: %s", self._path, event["object"].get("message"))
                    return ""
                version = event["object"]["metadata"]["resourceVersion"]
                self._take(event["type"], event["object"])
        return version

    def _take(self, kind: str, item: dict[str, Any]) -> None:
        if kind in ("ADDED", "MODIFIED"):
            self.objects[_key(item)] = item
        elif kind == "DELETED":
            self.objects.pop(_key(item), None)


def _key(item: Manifest) -> ServiceKey:
    return ServiceKey(item["metadata"]["namespace"], item["metadata"]["name"])


class ServiceDirectory:
    """Answers where a Service's ready pods are."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._services = Collection(session, "/api/v1/services")
        self._pods = Collection(session, "/api/v1/pods")

    async def follow(self) -> None:
        """Runs until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._services.follow())
            group.create_task(self._pods.follow())

    def is_ready(self) -> bool:
        return self._services.listed.is_set() and self._pods.listed.is_set()

    def addresses(self, key: ServiceKey, port: int | None) -> Sequence[Address]:
        """Raises NoAddressError."""
        service = self._services.objects.get(key)
        if service is None:
            there = sorted(other.name for other in self._services.objects if other.namespace == key.namespace)
            known = ", ".join(there) or "none"
            raise NoAddressError(f"no Service '{key.name}' in namespace '{key.namespace}'; there are: {known}")
        pods = [pod for pod_key, pod in self._pods.objects.items() if pod_key.namespace == key.namespace]
        return ready_addresses(service, pods, port)
