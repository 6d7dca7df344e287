"""The clockwork: look at every deployment in its turn, decide, and write `scale` where that says so."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from fastgen.contract import FastGenDeployment
from fastgen.contract.autoscaling import AutoscalingSpec
from fastgen.contract.engine_spec import SlaSpec
from fastgen.contract.status import FastGenDeploymentStatus
from fastgen_operator.autoscaler import Decision, Rules, Signals, State, Workload, decide, read_signals
from fastgen_operator.autoscaler.promql import question
from fastgen_operator.key import Key
from fastgen_operator.scaling.announcing import announcement
from fastgen_operator.scaling.metrics import Direction, ScalingMetrics
from fastgen_operator.scaling.prometheus import PrometheusClient, PrometheusError
from fastgen_operator.scaling.published import Publisher
from fastgen_operator.scaling.scale import ScaleChanged, WriteScale

log = logging.getLogger("fastgen.operator.scaling")

SCAN_SECONDS = 0.25
"""How often it is seen whose turn it is, and whether a manifest changed. Nothing but memory is read for that."""
LOOK_AGAIN_SECONDS = 0.5
"""After somebody else was faster."""
BLIND_SECONDS = 60.0
"""How long signals must be missing before that is an event: a new deployment is not scraped at once."""

Announce = Callable[[Key, Decision, int], Awaitable[None]]


class DeploymentsView(Protocol):
    """What the operator knows of the cluster, from memory. Complete before `Scaler.run` begins."""

    def keys(self) -> Iterable[Key]:
        """Every FastGenDeployment there is."""

    def deployment(self, key: Key) -> FastGenDeployment | None:
        """As the API server last said it is; None where it is gone or cannot be understood."""

    def status(self, key: Key) -> FastGenDeploymentStatus | None:
        """Its status, from which a restarted operator remembers."""

    def workload(self, key: Key) -> Workload:
        """Its pods in numbers."""


class _Asked(NamedTuple):
    """What a manifest says about scaling. Another one is looked at, and acted on, at once."""

    autoscaling: AutoscalingSpec
    sla: SlaSpec
    outside: int | None
    """spec.replicas, where somebody set it outside of minReplicas and maxReplicas."""

    @classmethod
    def of(cls, deployment: FastGenDeployment | None) -> _Asked | None:
        """None where nothing is to be scaled."""
        spec = deployment.spec if deployment is not None else None
        if spec is None or spec.autoscaling is None or spec.suspend:
            return None
        inside = spec.autoscaling.min_replicas <= spec.replicas <= spec.autoscaling.max_replicas
        return cls(spec.autoscaling, spec.sla, None if inside else spec.replicas)


@dataclass
class _Watched:
    """One deployment with autoscaling."""

    asked: _Asked
    state: State
    due_seconds: float = 0.0
    is_looking: bool = False
    decision: Decision | None = None
    seen_at_seconds: float = field(default_factory=time.monotonic)
    """When signals last allowed to decide."""
    is_blind: bool = False
    """That they do not was announced."""


class Scaler:
    """Looks, decides, writes `scale`. One deployment's slow Prometheus delays no other deployment.

    view: what is known of the cluster. write_scale: sets spec.replicas. announce: says a decision to people (an event).
    wake: lets the reconciler write the status, when something published changed.
    """

    def __init__(
        self,
        view: DeploymentsView,
        write_scale: WriteScale,
        announce: Announce,
        wake: Callable[[Key], None],
        metrics: ScalingMetrics,
        *,
        interval_seconds: float = 10.0,
        client: PrometheusClient | None = None,
    ) -> None:
        self._view, self._write_scale, self._announce = view, write_scale, announce
        self._metrics, self._interval_seconds = metrics, interval_seconds
        self._client = client or PrometheusClient()
        self._publisher = Publisher(wake)
        self._watched: dict[Key, _Watched] = {}

    def decision(self, key: Key) -> Decision | None:
        """The last one; None before the first, without autoscaling, and while suspended."""
        watched = self._watched.get(key)
        return watched.decision if watched is not None else None

    def forget(self, key: Key) -> None:
        """What was remembered of a deployment, its series included. What `status` keeps is read again if need be."""
        if self._watched.pop(key, None) is not None:
            self._metrics.forget(key)
            self._publisher.forget(key)

    async def run(self) -> None:
        """Until cancelled. Begin once the view is complete."""
        async with self._client, asyncio.TaskGroup() as looks:
            while True:
                self._start_due(looks)
                await asyncio.sleep(SCAN_SECONDS)

    def _start_due(self, looks: asyncio.TaskGroup) -> None:
        """Start a look at everything whose turn it is."""
        now, keys = time.monotonic(), set(self._view.keys())
        for gone in self._watched.keys() - keys:
            self.forget(gone)
        for key in keys:
            asked = _Asked.of(self._view.deployment(key))
            if asked is None:
                self.forget(key)
                continue
            watched = self._watched.get(key)
            if watched is None:
                watched = self._watched[key] = _Watched(asked, self._remembered(key))
            elif asked != watched.asked:
                watched.asked, watched.due_seconds = asked, now
            if now >= watched.due_seconds and not watched.is_looking:
                watched.is_looking, watched.due_seconds = True, now + self._interval_seconds
                looks.create_task(self._look(key, watched))

    def _remembered(self, key: Key) -> State:
        status = self._view.status(key)
        return State.restored(status.autoscaling if status is not None else None)

    async def _look(self, key: Key, watched: _Watched) -> None:
        """One look. Whatever goes wrong, there is a next one."""
        try:
            await self._judge(key, watched)
        except ScaleChanged as error:
            log.info("%s; looking again", error)
            self._count(key, watched, "conflict")
            watched.due_seconds = time.monotonic() + LOOK_AGAIN_SECONDS
        except Exception:
            log.exception("%s: the autoscaler failed to look; it tries again", key)
        finally:
            watched.is_looking = False

    async def _judge(self, key: Key, watched: _Watched) -> None:
        deployment, asked = self._view.deployment(key), watched.asked
        if deployment is None:
            return
        signals = await self._signals(key, deployment, asked)
        deployment = self._view.deployment(key)  # The world went on while Prometheus thought.
        if deployment is None or not self._is_current(key, watched) or _Asked.of(deployment) != asked:
            return
        rules = Rules.of(deployment, asked.autoscaling)
        signals = dataclasses.replace(signals, workload=self._view.workload(key))
        decision = decide(signals, watched.state, time.monotonic(), rules)
        before = watched.decision
        watched.decision = decision
        if rules.active and decision.replicas != signals.workload.replicas:
            decision = watched.decision = await self._act(key, watched, decision, signals.workload.replicas)
        watched.state = decision.new_state
        if not self._is_current(key, watched):
            return
        self._metrics.looked(key, signals, decision, rules.target)
        self._publisher.publish(key, decision)
        if not rules.active and before is not None and before.replicas != decision.replicas:
            await self._say(key, decision, before.replicas, active=False)
        await self._say_whether_blind(key, watched, decision, rules)

    async def _signals(self, key: Key, deployment: FastGenDeployment, asked: _Asked) -> Signals:
        """What Prometheus says; the workload is filled in later."""
        query = question(deployment, asked.autoscaling.window_seconds)
        workload = self._view.workload(key)
        try:
            with self._metrics.queries.time():
                answer = await self._client.ask(asked.autoscaling.prometheus.url, query)
        except PrometheusError as error:
            self._metrics.query_errors.labels(error.kind).inc()
            return Signals(workload, failure=error.message)
        return read_signals(answer, workload, time.time())

    async def _act(self, key: Key, watched: _Watched, decision: Decision, previous: int) -> Decision:
        """Write `scale`. The decision, with a memory of what really happened."""
        try:
            await self._write_scale(key, decision.replicas)
        except ScaleChanged:
            raise
        except Exception as error:
            log.warning("%s: scale could not be written, trying again: %s", key, error)
            self._count(key, watched, "error")
            unchanged = dataclasses.replace(decision.new_state, changes=watched.state.changes)
            return decision._replace(new_state=unchanged)
        self._count(key, watched, "up" if decision.replicas > previous else "down")
        await self._say(key, decision, previous, active=True)
        return decision

    def _is_current(self, key: Key, watched: _Watched) -> bool:
        """False where the deployment went meanwhile: nothing of it may come back."""
        return self._watched.get(key) is watched

    def _count(self, key: Key, watched: _Watched, direction: Direction) -> None:
        if self._is_current(key, watched):
            self._metrics.changed(key, direction)

    async def _say_whether_blind(self, key: Key, watched: _Watched, decision: Decision, rules: Rules) -> None:
        """Once when signals have been missing for a while, and once when they are back."""
        now = time.monotonic()
        if decision.is_informed:
            watched.seen_at_seconds = now
        is_blind = not decision.is_informed and now - watched.seen_at_seconds >= BLIND_SECONDS
        if is_blind != watched.is_blind and (is_blind or decision.is_informed):
            watched.is_blind = is_blind
            await self._say(key, decision, decision.replicas, active=rules.active)

    async def _say(self, key: Key, decision: Decision, previous: int, *, active: bool) -> None:
        said = announcement(decision, previous, active=active)
        log.log(logging.WARNING if said.type == "Warning" else logging.INFO, "%s: %s", key, said.message)
        try:
            await self._announce(key, decision, previous)
        except Exception as error:
            log.warning("%s: that could not be made an event: %s", key, error)
