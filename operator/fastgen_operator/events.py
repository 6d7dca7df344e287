"""Events of Kubernetes, as `kubectl describe` shows them: each thing once, and never in the way of the work."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import aiohttp

from fastgen.contract import labels
from fastgen_operator.api.client import Api
from fastgen_operator.api.errors import ApiError
from fastgen_operator.api.kinds import EVENTS
from fastgen_operator.metrics import OperatorMetrics
from fastgen_operator.status import time_text

log = logging.getLogger("fastgen.operator")

QUIET_SECONDS = 600.0
"""The same words about the same object are not said again so soon."""
REMEMBERED = 4096
NOTE_CHARACTERS = 1024
EventType = Literal["Normal", "Warning"]


class Events:
    """Posts events. What cannot be posted is logged and counted; the work goes on."""

    def __init__(
        self, api: Api, metrics: OperatorMetrics, instance: str, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._api, self._metrics, self._instance, self._now = api, metrics, instance, now
        self._said: OrderedDict[tuple[str, str, str], float] = OrderedDict()

    async def post(
        self, about: Mapping[str, Any], kind: EventType, reason: str, note: str, *, is_logged: bool = True
    ) -> None:
        """Say it of a FastGenDeployment, and in the log, unless it was said a short while ago."""
        metadata = about["metadata"]
        context = {
            "namespace": metadata["namespace"],
            "deployment": metadata["name"],
            "uid": metadata["uid"],
            "generation": metadata.get("generation"),
            "reason": reason,
        }
        if not self._is_news(metadata["uid"], reason, note):
            return
        if is_logged:
            log.log(logging.WARNING if kind == "Warning" else logging.INFO, note, extra=context)
        try:
            await self._api.create(EVENTS, metadata["namespace"], self._body(metadata, kind, reason, note))
        except (ApiError, aiohttp.ClientError, OSError) as error:
            if isinstance(error, ApiError) and error.is_farewell:
                return
            self._metrics.errors.labels("event").inc()
            log.warning("an event could not be posted: %s", error, extra=context)

    def _is_news(self, uid: str, reason: str, note: str) -> bool:
        what, now = (uid, reason, note), self._now()
        last = self._said.get(what)
        if last is not None and now - last < QUIET_SECONDS:
            return False
        self._said[what] = now
        self._said.move_to_end(what)
        while len(self._said) > REMEMBERED:
            self._said.popitem(last=False)
        return True

    def _body(self, metadata: Mapping[str, Any], kind: EventType, reason: str, note: str) -> dict[str, Any]:
        now = time_text(datetime.now(UTC))
        return {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"generateName": f"{metadata['name']}-", "namespace": metadata["namespace"]},
            "involvedObject": {
                "apiVersion": labels.API_VERSION,
                "kind": labels.KIND,
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
                "resourceVersion": metadata.get("resourceVersion"),
            },
            "type": kind,
            "reason": reason,
            "message": note if len(note) <= NOTE_CHARACTERS else note[: NOTE_CHARACTERS - 3] + "...",
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "source": {"component": labels.FIELD_MANAGER},
            "reportingComponent": labels.FIELD_MANAGER,
            "reportingInstance": self._instance[:128],
        }
