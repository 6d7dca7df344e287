"""What the autoscaler sees of the store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from fastgen.contract import FastGenDeployment, labels
from fastgen.contract.status import FastGenDeploymentStatus
from fastgen_operator.autoscaler.signals import PENDING_SECONDS, Workload
from fastgen_operator.key import Key
from fastgen_operator.store import Store
from fastgen_operator.workloads import is_alive, is_ready, num_late

Json = Mapping[str, Any]


class View:
    """Deployments and their pods in numbers, from memory."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def keys(self) -> Iterable[Key]:
        return self._store.keys()

    def deployment(self, key: Key) -> FastGenDeployment | None:
        known = self._store.known(key)
        return known.deployment if known is not None else None

    def status(self, key: Key) -> FastGenDeploymentStatus | None:
        return self._store.status(key)

    def version(self, key: Key) -> str | None:
        """Which version of the resource all of this was said of."""
        known = self._store.known(key)
        return str(known.raw["metadata"]["resourceVersion"]) if known is not None else None

    def workload(self, key: Key) -> Workload:
        deployment = self.deployment(key)
        pods = self._store.pods_of(key, labels.COMPONENT_REPLICA)
        return Workload(
            replicas=deployment.spec.replicas if deployment is not None else 0,
            ready=_num_ready(pods),
            late=num_late(pods, datetime.now(UTC), PENDING_SECONDS),
            balancers=_num_ready(self._store.pods_of(key, labels.COMPONENT_BALANCER)),
        )


def _num_ready(pods: Iterable[Json]) -> int:
    return sum(is_alive(pod) and is_ready(pod) for pod in pods)
