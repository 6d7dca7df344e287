"""What the holder of the Lease does, from reading the cluster to the last look.

kopf, followers ──► Store ──► queue ──► workers ──► Reconciler
                      └──► View ──► Scaler
"""

from __future__ import annotations

import asyncio
import functools
import logging
import random
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
from kubernetes.aio import client

from fastgen.contract import labels
from fastgen_operator.api.client import Api
from fastgen_operator.api.errors import ApiError
from fastgen_operator.api.kinds import CHILDREN, FASTGEN_DEPLOYMENTS, PODS, SERVICE_MONITORS, Kind
from fastgen_operator.autoscaler import Decision
from fastgen_operator.config import OperatorConfig
from fastgen_operator.desired import Images
from fastgen_operator.events import Events
from fastgen_operator.facts import Facts
from fastgen_operator.key import Key
from fastgen_operator.kopf_watch import KopfWatch
from fastgen_operator.loop.queue import KeyedQueue
from fastgen_operator.loop.workers import Workers
from fastgen_operator.metrics import OperatorMetrics
from fastgen_operator.reconcile import Reconciler
from fastgen_operator.scaling import Scaler, ScaleWriter, ScalingMetrics, announcement
from fastgen_operator.store import Store
from fastgen_operator.view import View
from fastgen_operator.watching import Follower

log = logging.getLogger("fastgen.operator")

SELECTOR = f"{labels.MANAGED_BY}={labels.FIELD_MANAGER}"
"""All that the operator makes, and their pods. The server selects: others' pods never come this way."""
CRD_LOOK_SECONDS = 5.0


class Acting:
    """The whole of it. `api` refuses to write once the Lease may be somebody else's."""

    def __init__(self, config: OperatorConfig, api: Api, metrics: OperatorMetrics, identity: str) -> None:
        self._config, self._api, self._metrics = config, api, metrics
        self._facts = Facts(Images(config.serving_image, config.light_image))
        self._scopes: tuple[str | None, ...] = config.namespaces or (None,)
        self._queue: KeyedQueue[Key] = KeyedQueue()
        self._store = Store(self._queue.add)
        self._events = Events(api, metrics, identity)
        self._view = View(self._store)
        self._scaler = self._make_scaler(api.transport)
        self._reconciler = Reconciler(api, self._store, self._events, metrics, self._facts, self._scaler.decision)
        self._workers = Workers(self._queue, self._reconciler.look, metrics, self._tell_bug)
        self._monitors: list[asyncio.Task[None]] = []
        self._monitors_synced: list[asyncio.Event] = []
        self.is_started = asyncio.Event()
        """Set once everything was read and work began."""
        metrics.queue_depth.set_function(lambda: len(self._queue))
        metrics.deployments.set_function(lambda: len(self._store.keys()))

    def _make_scaler(self, transport: client.ApiClient) -> Scaler:
        write = ScaleWriter(transport, self._view.version)

        async def write_scale(key: Key, replicas: int) -> None:
            self._api.before_write()
            await write(key, replicas)

        return Scaler(
            self._view,
            write_scale,
            self._announce,
            self._queue.add,
            ScalingMetrics(self._metrics.registry),
            interval_seconds=self._config.scaling_interval_seconds,
        )

    async def run(self) -> None:
        """Until cancelled. Whatever part ends with an error ends all of it."""
        await self._wait_for_definition()
        async with asyncio.TaskGroup() as tasks:
            followers = [
                Follower(self._api, kind, scope, SELECTOR, self._store.table(kind), self._watch_failed)
                for kind in (*CHILDREN, PODS)
                for scope in self._scopes
            ]
            for follower in followers:
                tasks.create_task(follower.run())
            await self._look_for_monitors(tasks)
            await self._read_deployments()
            for follower in followers:
                await follower.is_synced.wait()
            log.info("looking after %d deployments", len(self._store.keys()))
            kopf = KopfWatch(self._config.namespaces, self._heard, lambda: self._count_error("kopf"))
            tasks.create_task(kopf.run())
            for _ in range(self._config.workers):
                tasks.create_task(self._workers.run())
            tasks.create_task(self._scaler.run())
            self.is_started.set()
            await self._resync_for_ever(tasks)

    async def _wait_for_definition(self) -> None:
        """Without its definition there is nothing to watch."""
        told = False
        while not await self._ask_patiently(lambda: self._api.serves(FASTGEN_DEPLOYMENTS)):
            if not told:
                log.warning(
                    "this cluster does not know %s (%s): install the chart with crds.install=true, or apply "
                    "crds/fastgendeployments.yaml; waiting for it",
                    labels.KIND,
                    labels.API_VERSION,
                )
                told = True
            await asyncio.sleep(CRD_LOOK_SECONDS)

    async def _ask_patiently(self, ask: Callable[[], Any]) -> Any:
        """Ask until there is an answer."""
        while True:
            try:
                return await ask()
            except (ApiError, aiohttp.ClientError, OSError) as error:
                log.warning("%s; again in %.0f s", str(error) or type(error).__name__, CRD_LOOK_SECONDS)
                self._count_error("watch")
                await asyncio.sleep(CRD_LOOK_SECONDS)

    async def _read_deployments(self) -> None:
        """Take over all there are. What was deleted while a watch was broken is noticed here."""
        for scope in self._scopes:
            ask = functools.partial(self._api.list_all, FASTGEN_DEPLOYMENTS, scope)
            things, version = await self._ask_patiently(ask)
            self._store.deployments.replace(scope, things, version)

    async def _resync_for_ever(self, tasks: asyncio.TaskGroup) -> None:
        """Look at everything again, once in a while, and at what the cluster has."""
        while True:
            await asyncio.sleep(self._config.resync_seconds * random.uniform(0.9, 1.1))  # noqa: S311 - spreads
            await self._read_deployments()
            await self._look_for_monitors(tasks)
            self._look_at_all()

    async def _look_for_monitors(self, tasks: asyncio.TaskGroup) -> None:
        """ServiceMonitors are made where the Prometheus operator is: discovery says so, and everybody may ask it."""
        there = await self._ask_patiently(lambda: self._api.serves(SERVICE_MONITORS))
        if there and not self._monitors:
            table = self._store.table(SERVICE_MONITORS)
            followers = [
                Follower(self._api, SERVICE_MONITORS, scope, SELECTOR, table, self._watch_failed)
                for scope in self._scopes
            ]
            self._monitors = [tasks.create_task(follower.run()) for follower in followers]
            self._monitors.append(tasks.create_task(self._use_monitors()))
            self._monitors_synced = [follower.is_synced for follower in followers]
        elif there:
            self._facts.has_service_monitors = all(synced.is_set() for synced in self._monitors_synced)
        else:
            for task in self._monitors:
                task.cancel()
            self._monitors, self._facts.has_service_monitors = [], False

    async def _use_monitors(self) -> None:
        """Once it is known which there are: without the right to list them they are never made."""
        for synced in self._monitors_synced:
            await synced.wait()
        self._facts.has_service_monitors = True
        self._look_at_all()

    def _look_at_all(self) -> None:
        keys = self._store.keys()
        for key in keys:
            self._queue.add(key)

    def _heard(self, kind: str | None, thing: Mapping[str, Any]) -> None:
        """From kopf."""
        if kind == "DELETED":
            self._store.deployments.drop(thing)
        else:
            self._store.deployments.put(thing)

    def _watch_failed(self, _: Kind) -> None:
        self._count_error("watch")

    def _count_error(self, reason: str) -> None:
        self._metrics.errors.labels(reason).inc()

    async def _announce(self, key: Key, decision: Decision, previous: int) -> None:
        """A decision of the autoscaler, as an event."""
        known = self._store.known(key)
        if known is None or known.deployment is None or known.deployment.spec.autoscaling is None:
            return
        said = announcement(decision, previous, active=known.deployment.spec.autoscaling.mode == "Active")
        await self._events.post(known.raw, said.type, said.reason, said.message, is_logged=False)

    async def _tell_bug(self, key: Key, error: Exception) -> None:
        """What nobody expected is shown where people look; the traceback is in the log."""
        known = self._store.known(key)
        if known is not None:
            words = f"the operator failed on this deployment and tries again: {type(error).__name__}: {error}"
            await self._events.post(known.raw, "Warning", "OperatorError", words)
