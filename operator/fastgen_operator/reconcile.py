"""One look at one deployment: plan, carry out, say how it is.

Store ──desired, plan_changes──► Plan ──Children──► Outcome ──status_of──► status, events
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from fastgen.contract import FastGenDeployment, labels
from fastgen.contract.status import FastGenDeploymentStatus
from fastgen_operator import contests, problems
from fastgen_operator.api.client import Api
from fastgen_operator.api.errors import ApiError
from fastgen_operator.api.kinds import SERVICE_MONITORS
from fastgen_operator.autoscaler import Decision
from fastgen_operator.changes import Plan, Ref, plan_changes, ref_of
from fastgen_operator.children import Children
from fastgen_operator.contests import Contest
from fastgen_operator.desired import CannotRunError, KubeObject, desired
from fastgen_operator.events import Events
from fastgen_operator.facts import Facts
from fastgen_operator.invalid_status import status_of_invalid
from fastgen_operator.key import Key
from fastgen_operator.metrics import OperatorMetrics
from fastgen_operator.outcome import Outcome, remark
from fastgen_operator.status import Observation, Problem, status_of
from fastgen_operator.status_writer import StatusWriter
from fastgen_operator.store import Known, Store
from fastgen_operator.workloads import Rollout, rollout_of, standing_rollout, trouble_of

Json = Mapping[str, Any]


class Look(NamedTuple):
    """What came of it."""

    result: Literal["ok", "problem", "gone"]
    again_after_seconds: float | None = None
    """When time alone will change something."""
    try_again: bool = False
    """Something was refused: the reason may go away without anything that we watch changing."""


@dataclass
class _Memory:
    """Of one deployment. Without it everything is applied once, which changes nothing where nothing differs."""

    children: Children
    contests: dict[Ref, Contest] = field(default_factory=dict)


class Reconciler:
    """Makes what exists what the manifests say."""

    def __init__(
        self,
        api: Api,
        store: Store,
        events: Events,
        metrics: OperatorMetrics,
        facts: Facts,
        decision: Callable[[Key], Decision | None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api, self._store, self._events, self._metrics = api, store, events, metrics
        self._facts, self._decision, self._now = facts, decision, now
        self._status = StatusWriter(api, store, events, metrics)
        self._memories: dict[Key, _Memory] = {}

    async def look(self, key: Key) -> Look:
        """One look. Raises ApiError, or aiohttp's errors, where it is worth trying again in a moment."""
        known = self._store.known(key)
        if known is None:
            self._memories.pop(key, None)
            return Look("gone")
        memory = self._memory(key, known.uid)
        try:
            return await self._look_at(key, known, memory)
        except ApiError as error:
            if error.is_farewell:  # The namespace goes, and everything in it.
                return Look("gone")
            raise

    async def _look_at(self, key: Key, known: Known, memory: _Memory) -> Look:
        if known.deployment is None:
            await self._status.write(key, known, self._invalid(key, known))
            return Look("problem")
        outcome, plan, wanted = Outcome(), Plan(), None
        try:
            wanted = desired(known.deployment, self._facts.observed())
        except CannotRunError as error:
            problem: Problem | None = Problem(error.reason, error.message)
        else:
            live = self._store.children_of(key)
            plan = plan_changes(wanted, live, memory.children.remembered, known.uid)
            outcome = await memory.children.carry_out(self._without_contested(plan, memory))
            memory.children.forget_all_but(map(ref_of, wanted))
            self._notice_lost_monitors(outcome)
            await self._tell(known, memory, outcome)
            if outcome.broken_off is not None:
                raise outcome.broken_off
            problem = problems.of_outcome(outcome.foreign, outcome.refused)
        observation = self._observe(key, known, known.deployment, wanted, problem, self._remarks(memory, outcome))
        await self._status.write(key, known, status_of(observation, datetime.now(UTC)))
        return Look(
            "ok" if problem is None else "problem",
            self._next_seconds(plan, memory),
            bool(outcome.refused or outcome.foreign or outcome.leaving),
        )

    def _memory(self, key: Key, uid: str) -> _Memory:
        memory = self._memories.get(key)
        if memory is None or memory.children.owner_uid != uid:
            memory = self._memories[key] = _Memory(Children(self._api, self._store, key, uid))
        return memory

    def _notice_lost_monitors(self, outcome: Outcome) -> None:
        """The Prometheus operator went, and its definitions with it: that is no problem of any deployment."""
        lost = [each for each in outcome.refused if each.ref.kind == SERVICE_MONITORS.kind and each.error.is_gone]
        if lost:
            outcome.refused = [each for each in outcome.refused if each not in lost]
            self._facts.has_service_monitors = False

    def _without_contested(self, plan: Plan, memory: _Memory) -> Plan:
        """Leave alone for a while what somebody changes again and again."""
        now = self._now()
        applies = tuple(
            apply
            for apply in plan.applies
            if apply.why != "drifted" or contests.wait_seconds(memory.contests.get(apply.ref, Contest()), now) <= 0.0
        )
        return Plan(applies, plan.prunes, plan.foreign, plan.leaving)

    async def _tell(self, known: Known, memory: _Memory, outcome: Outcome) -> None:
        """Count what was done; events for what others had done."""
        for done in outcome.done:
            ref, why = done.apply.ref, done.apply.why
            self._metrics.changes.labels(ref.kind, why).inc()
            said = remark(done)
            if said is not None:
                contest = memory.contests.get(ref, Contest())
                memory.contests[ref] = contests.put_back(contest, self._now(), said)
                await self._events.post(known.raw, "Normal", "PutBack", said)
        for ref in outcome.pruned:
            self._metrics.changes.labels(ref.kind, "pruned").inc()
            await self._events.post(known.raw, "Normal", "Removed", f"{ref}: the manifest does not ask for it any more")

    def _remarks(self, memory: _Memory, outcome: Outcome) -> tuple[str, ...]:
        now = self._now()
        memory.contests = {
            ref: each for ref, each in memory.contests.items() if contests.until_untold_seconds(each, now) > 0.0
        }
        waits = [f"{ref} is being deleted, and is made again then" for ref in outcome.leaving]
        return (*waits, *(each.remark for _, each in sorted(memory.contests.items())))

    def _next_seconds(self, plan: Plan, memory: _Memory) -> float | None:
        """When a contested object may be put back, or a remark has been told for long enough."""
        now = self._now()
        waits = [contests.wait_seconds(memory.contests.get(apply.ref, Contest()), now) for apply in plan.applies]
        waits += [contests.until_untold_seconds(each, now) for each in memory.contests.values()]
        return min((wait for wait in waits if wait > 0.0), default=None)

    def _observe(
        self,
        key: Key,
        known: Known,
        deployment: FastGenDeployment,
        wanted: Sequence[KubeObject] | None,
        problem: Problem | None,
        remarks: tuple[str, ...],
    ) -> Observation:
        pods = self._store.pods_of(key, labels.COMPONENT_REPLICA)
        balancer_pods = self._store.pods_of(key, labels.COMPONENT_BALANCER)
        return Observation(
            deployment=deployment,
            generation=known.generation,
            replicas=self._rollout(key, labels.replica_name(key.name), wanted, pods),
            balancers=self._rollout(key, labels.balancer_name(key.name), wanted, balancer_pods),
            trouble=trouble_of(pods, self._child(key, labels.replica_name(key.name))),
            balancer_trouble=trouble_of(balancer_pods, self._child(key, labels.balancer_name(key.name))),
            problem=problem,
            decision=self._decision(key),
            previous=self._store.status(key),
            remarks=remarks,
        )

    def _rollout(self, key: Key, name: str, wanted: Sequence[KubeObject] | None, pods: Sequence[Json]) -> Rollout:
        child = self._child(key, name)
        should = next((content for content in wanted or () if ref_of(content) == _deployment(name)), None)
        return standing_rollout(child, pods) if should is None else rollout_of(child, should, pods)

    def _child(self, key: Key, name: str) -> Json | None:
        return self._store.children_of(key).get(_deployment(name))

    def _invalid(self, key: Key, known: Known) -> FastGenDeploymentStatus:
        assert known.wrong is not None
        problem = problems.of_manifest(known.wrong)
        replicas, balancers = (
            standing_rollout(None, self._store.pods_of(key, component))
            for component in (labels.COMPONENT_REPLICA, labels.COMPONENT_BALANCER)
        )
        previous = self._store.status(key)
        return status_of_invalid(key.name, known.generation, problem, replicas, balancers, previous, datetime.now(UTC))


def _deployment(name: str) -> Ref:
    return Ref("apps/v1", "Deployment", name)
