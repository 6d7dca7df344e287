"""Events about pods: the first of a kind at once, its repetitions as a count."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from typing import Literal

from fastgen_devcluster.node.api import MERGE_PATCH, Api, ApiError, KubeObject
from fastgen_devcluster.node.views import timestamp

REPEAT_SECONDS = 30.0
"""How often the count of one that repeats is written."""
RETRY_SECONDS = 2.0
TRIES = 30
MOST_REMEMBERED = 4096
MESSAGE_LENGTH = 1024


@dataclass
class _Told:
    """One event as the API server has it, or will."""

    event: KubeObject
    is_written: bool = False
    is_due: bool = False
    """A write is under way or scheduled."""


class Recorder:
    """Writes events in the background. One that an API server refuses is dropped; one that is away is waited for."""

    def __init__(self, api: Api, component: str = "devcluster-node") -> None:
        self._api = api
        self._component = component
        self._told: dict[tuple[str, ...], _Told] = {}
        self._writing: set[asyncio.Task[None]] = set()

    def emit(
        self, pod: KubeObject, kind: Literal["Normal", "Warning"], reason: str, message: str, container: str = ""
    ) -> None:
        """Say it of `pod`, or count it once more."""
        message = message[:MESSAGE_LENGTH]
        key = (pod["metadata"]["uid"], kind, reason, message, container)
        told = self._told.get(key)
        if told is None:
            if len(self._told) >= MOST_REMEMBERED:
                del self._told[next(iter(self._told))]
            told = self._told[key] = _Told(self._first(pod, kind, reason, message, container))
        else:
            told.event["count"] += 1
            told.event["lastTimestamp"] = timestamp()
        if not told.is_due:
            self._write_soon(told)

    def _write_soon(self, told: _Told) -> None:
        told.is_due = True
        task = asyncio.create_task(self._write(told))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    def _first(self, pod: KubeObject, kind: str, reason: str, message: str, container: str) -> KubeObject:
        metadata, now = pod["metadata"], timestamp()
        subject = {
            "kind": "Pod",
            "apiVersion": "v1",
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
        }
        if container:
            subject["fieldPath"] = f"spec.containers{{{container}}}"
        return {
            "metadata": {"name": f"{metadata['name']}.{secrets.token_hex(8)}", "namespace": metadata["namespace"]},
            "involvedObject": subject,
            "type": kind,
            "reason": reason,
            "message": message,
            "source": {"component": self._component, "host": pod["spec"].get("nodeName", "")},
            "reportingComponent": self._component,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }

    async def _write(self, told: _Told) -> None:
        if told.is_written:
            await asyncio.sleep(REPEAT_SECONDS)
        count = 0
        event = told.event
        path = f"/api/v1/namespaces/{event['metadata']['namespace']}/events"
        for _ in range(TRIES):
            count = event["count"]
            try:
                if told.is_written:
                    body = {"count": count, "lastTimestamp": event["lastTimestamp"]}
                    name = event["metadata"]["name"]
                    await self._api.request("PATCH", f"{path}/{name}", body, content_type=MERGE_PATCH)
                else:
                    await self._api.request("POST", path, event)
                    told.is_written = True
            except ApiError as error:
                if not error.status:
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
            break
        told.is_due = False
        if event["count"] > count:  # it happened again meanwhile
            self._write_soon(told)
