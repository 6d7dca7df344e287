"""Telling the API server how a pod is, and at last that it is gone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from fastgen_devcluster.node.api import STRATEGIC_MERGE_PATCH, Api, ApiError, KubeObject
from fastgen_devcluster.node.status import OURS, Seen, pod_status

logger = logging.getLogger(__name__)

GATHER_SECONDS = 0.02
"""Changes that come together are written together."""
RETRY_FIRST_SECONDS = 0.2
RETRY_MOST_SECONDS = 5.0
NOT_FOUND = 404


class StatusWriter:
    """Writes one pod's status whenever it is another."""

    def __init__(self, api: Api, pod: KubeObject, seen: Callable[[], Seen]) -> None:
        self._api = api
        self._pod = pod
        self._seen = seen
        self._written: KubeObject | None = None
        self._conditions = {c["type"]: c for c in pod.get("status", {}).get("conditions", ()) if c["type"] in OURS}
        self._is_due = asyncio.Event()
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._is_closed = False
        metadata = pod["metadata"]
        self._path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"

    def update(self, pod: KubeObject) -> None:
        """The pod as the API server has it; conditions of others may open its readiness gates."""
        self._pod = pod
        if pod["spec"].get("readinessGates"):
            self.write_soon()

    def write_soon(self) -> None:
        if not self._is_closed:
            self._is_due.set()
            self._is_idle.clear()

    def close(self) -> None:
        """Nothing is written from now on: there is no such pod any more, or it is no longer ours to speak of."""
        self._is_closed = True
        self._is_idle.set()

    async def flush(self) -> None:
        """Return once the last change is written, or never will be."""
        await self._is_idle.wait()

    async def run(self) -> None:
        while not self._is_closed:
            await self._is_due.wait()
            await asyncio.sleep(GATHER_SECONDS)
            self._is_due.clear()
            await self._write()
            if not self._is_due.is_set():
                self._is_idle.set()

    async def _write(self) -> None:
        delay_seconds = RETRY_FIRST_SECONDS
        while not self._is_closed:
            status = pod_status(self._with_our_conditions(), self._seen())
            if status == self._written:
                return
            body = {"metadata": {"uid": self._pod["metadata"]["uid"]}, "status": status}
            try:
                await self._api.request("PATCH", f"{self._path}/status", body, content_type=STRATEGIC_MERGE_PATCH)
            except ApiError as error:
                if error.status == NOT_FOUND:
                    return
                logger.warning("status of %s not written, trying again: %s", self._path, error)
                await asyncio.sleep(delay_seconds)
                delay_seconds = min(2 * delay_seconds, RETRY_MOST_SECONDS)
                continue
            self._written = status
            self._conditions = {c["type"]: c for c in status["conditions"]}

    def _with_our_conditions(self) -> KubeObject:
        status = self._pod.get("status", {})
        conditions = {c["type"]: c for c in status.get("conditions", ())} | self._conditions
        return {**self._pod, "status": {**status, "conditions": list(conditions.values())}}

    async def delete(self) -> None:
        """Have the API server forget the pod, now that nothing of it is left here."""
        delay_seconds = RETRY_FIRST_SECONDS
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "gracePeriodSeconds": 0,
            "preconditions": {"uid": self._pod["metadata"]["uid"]},
        }
        while not self._is_closed:
            try:
                await self._api.request("DELETE", self._path, body)
                return
            except ApiError as error:
                if error.status == NOT_FOUND:
                    return
                await asyncio.sleep(delay_seconds)
                delay_seconds = min(2 * delay_seconds, RETRY_MOST_SECONDS)
