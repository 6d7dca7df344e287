"""Replicas are pods with certain labels, watched on the API server: the address is the pod's own.

    list -> watch from that version -> each change tells the whole list -> watch ends -> list again

A pod that is being deleted drains at once, before any Service or EndpointSlice would say so. When the API
server cannot be reached the list stays as it is: replicas do not stop because their watcher is blind.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp

from fastgen.contract import ports
from fastgen_server.balancer.discovery.base import OnList
from fastgen_server.balancer.pool import Discovered
from fastgen_server.balancer.replica import ReplicaAddress

log = logging.getLogger("fastgen.balancer")

Pod = Mapping[str, Any]

WATCH_SECONDS = 60
"""A watch is ended by the server after this long, and given up by us a little later: one that was silently
dropped on the way is noticed within that time."""
FIRST_BACKOFF_SECONDS = 0.5
MAX_BACKOFF_SECONDS = 15.0

_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class WatchExpiredError(Exception):
    """The server cannot go on from our version; a new list is needed."""


def replica_of(pod: Pod) -> Discovered | None:
    """The replica a pod is: None while it has no address, is not ready, or has ended."""
    metadata, status = pod.get("metadata") or {}, pod.get("status") or {}
    address = status.get("podIP")
    if not address or status.get("phase") in ("Succeeded", "Failed"):
        return None
    leaving = metadata.get("deletionTimestamp") is not None
    conditions = {c.get("type"): c.get("status") for c in status.get("conditions") or ()}
    if not leaving and conditions.get("Ready") != "True":
        return None
    host = f"[{address}]" if ":" in address else address
    open_ports = _named_ports(pod)
    http = f"{host}:{open_ports.get(ports.NAME_HTTP, ports.REPLICA_HTTP)}"
    grpc = f"{host}:{open_ports.get(ports.NAME_GRPC, ports.REPLICA_GRPC)}"
    return Discovered(ReplicaAddress(http, grpc, metadata.get("name", "")), draining=leaving)


def _named_ports(pod: Pod) -> dict[str, int]:
    containers = (pod.get("spec") or {}).get("containers") or ()
    return {
        port["name"]: int(port["containerPort"])
        for container in containers
        for port in container.get("ports") or ()
        if "name" in port and "containerPort" in port
    }


class PodTable:
    """The pods as last heard of, by uid: two pods may follow each other under one name."""

    def __init__(self) -> None:
        self._pods: dict[str, Pod] = {}
        self.version = ""

    def reset(self, pod_list: Mapping[str, Any]) -> None:
        """Take over a whole PodList."""
        self._pods = {_uid(pod): pod for pod in pod_list.get("items") or ()}
        self.version = (pod_list.get("metadata") or {}).get("resourceVersion", "")

    def apply(self, event: Mapping[str, Any]) -> bool:
        """Take over one watch event; True if the list may have changed. Raises WatchExpiredError."""
        kind, thing = event.get("type"), event.get("object") or {}
        if kind == "ERROR":
            raise WatchExpiredError(thing.get("message") or str(thing))
        self.version = (thing.get("metadata") or {}).get("resourceVersion", self.version)
        if kind in ("ADDED", "MODIFIED"):
            self._pods[_uid(thing)] = thing
        elif kind == "DELETED":
            self._pods.pop(_uid(thing), None)
        return kind in ("ADDED", "MODIFIED", "DELETED")

    def replicas(self) -> list[Discovered]:
        found = (replica_of(pod) for pod in self._pods.values())
        return [replica for replica in found if replica is not None]


def _uid(pod: Pod) -> str:
    metadata = pod.get("metadata") or {}
    return str(metadata.get("uid") or metadata.get("name"))


class PodDiscovery:
    """Lists and watches the pods of one namespace that a label selector matches."""

    def __init__(self, selector: str, namespace: str | None = None) -> None:
        self._selector = selector
        self._namespace = namespace
        self._table = PodTable()

    async def run(self, on_list: OnList) -> None:
        from kubernetes.aio import client

        backoff = FIRST_BACKOFF_SECONDS
        while True:
            try:
                namespace = await self._configure()
                async with client.ApiClient() as api:
                    pods = client.CoreV1Api(api)
                    while True:
                        await self._list(pods, namespace)
                        on_list(self._table.replicas())
                        backoff = FIRST_BACKOFF_SECONDS
                        await self._watch(pods, namespace, on_list)
            except asyncio.CancelledError:
                raise
            except WatchExpiredError as expired:
                log.info("pods: listing again: %s", expired)
            except Exception as error:
                log.warning("pods %s: %s; the list stays, again in %.1f s", self._selector, error, backoff)
                await asyncio.sleep(backoff)
                backoff = min(2 * backoff, MAX_BACKOFF_SECONDS)

    async def _configure(self) -> str:
        """Load the cluster's access, from the pod we are in or a kubeconfig; the namespace to look in."""
        from kubernetes.aio import config

        access: Any = config
        try:
            access.load_incluster_config()
            own = _own_namespace()
        except access.ConfigException:
            await access.load_kube_config()
            _, active = access.list_kube_config_contexts()
            own = active["context"].get("namespace", "default")
        return self._namespace or own

    async def _list(self, pods: Any, namespace: str) -> None:
        response = await _raw(pods, namespace, label_selector=self._selector, _request_timeout=30)
        text = await response.text()
        _check(response.status, text)
        self._table.reset(json.loads(text))

    async def _watch(self, pods: Any, namespace: str, on_list: OnList) -> None:
        response = await _raw(
            pods,
            namespace,
            label_selector=self._selector,
            watch=True,
            allow_watch_bookmarks=True,
            resource_version=self._table.version,
            timeout_seconds=WATCH_SECONDS,
            _request_timeout=WATCH_SECONDS + 15,
        )
        try:
            if response.status != 200:
                _check(response.status, await response.text())
            async for line in _lines(response):
                if self._table.apply(json.loads(line)):
                    on_list(self._table.replicas())
        finally:
            response.close()


def _own_namespace() -> str:
    return _OWN_NAMESPACE.read_text(encoding="utf-8").strip() if _OWN_NAMESPACE.exists() else "default"


async def _raw(pods: Any, namespace: str, **query: Any) -> aiohttp.ClientResponse:
    """The pods as the server sent them. The client library renamed its way to ask for that in version 36."""
    ask = getattr(pods, "list_namespaced_pod_without_preload_content", None)
    if ask is None:
        ask = functools.partial(pods.list_namespaced_pod, _preload_content=False)
    response: aiohttp.ClientResponse = await ask(namespace, **query)
    return response


def _check(status: int, text: str) -> None:
    if status == 410:
        raise WatchExpiredError("our version is too old")
    if status != 200:
        raise OSError(f"the API server answered {status}: {text[:300]}")


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Whole lines of any length: a pod can be longer than the HTTP library's own readline takes."""
    rest = b""
    async for piece in response.content.iter_any():
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            if line.strip():
                yield line
