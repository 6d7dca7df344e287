"""Writing status, where it says something new."""

from __future__ import annotations

import logging

from fastgen.contract import labels
from fastgen.contract.status import Condition, FastGenDeploymentStatus
from fastgen_operator.api.client import Api
from fastgen_operator.api.errors import ApiError
from fastgen_operator.api.kinds import FASTGEN_DEPLOYMENTS
from fastgen_operator.events import Events, EventType
from fastgen_operator.key import Key
from fastgen_operator.metrics import OperatorMetrics
from fastgen_operator.store import Known, Store

log = logging.getLogger("fastgen.operator")

TOLD = ("Ready", "Progressing")
"""Conditions whose new reasons are events."""
_CALM = frozenset(
    {
        "Serving", "Asleep", "RollingOut", "UpToDate", "Loading", "Waiting", "NotCreated", "Suspended", "NoReplicas",
        "AllReady", "SomeReady", "Starting",
    }
)  # fmt: skip
"""Reasons that need nobody."""


class StatusWriter:
    """Applies `status` as a whole, so that what is not said any more goes."""

    def __init__(self, api: Api, store: Store, events: Events, metrics: OperatorMetrics) -> None:
        self._api, self._store, self._events, self._metrics = api, store, events, metrics

    async def write(self, key: Key, known: Known, status: FastGenDeploymentStatus) -> None:
        """Write it unless it is what is there. A resource that went meanwhile needs none."""
        previous = self._store.status(key)
        if status == previous:
            return
        body = {
            "apiVersion": labels.API_VERSION,
            "kind": labels.KIND,
            "metadata": {"name": key.name, "namespace": key.namespace, "uid": known.uid},
            "status": status.to_manifest(),
        }
        try:
            answer = await self._api.apply(FASTGEN_DEPLOYMENTS, key.namespace, body, part="status", force=True)
        except ApiError as error:
            if error.is_gone or _is_another(error):
                log.debug("%s went before its status was written", key)
                return
            raise
        self._metrics.changes.labels(labels.KIND, "status").inc()
        self._store.deployments.put(answer)
        before = {condition.type: condition for condition in previous.conditions} if previous is not None else {}
        for condition in status.conditions:
            if condition.type in TOLD and _is_new(before.get(condition.type), condition):
                await self._events.post(known.raw, _type_of(condition), condition.reason, condition.message)


def _is_another(error: ApiError) -> bool:
    """Under this name there is another object by now, or none."""
    return "uid" in error.message.lower() and error.status in (409, 422)


def _is_new(before: Condition | None, after: Condition) -> bool:
    return before is None or (before.status, before.reason) != (after.status, after.reason)


def _type_of(condition: Condition) -> EventType:
    return "Normal" if condition.status == "True" or condition.reason in _CALM else "Warning"
