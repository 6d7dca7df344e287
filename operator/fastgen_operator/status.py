"""The status of a FastGenDeployment from what was observed. Pure; docs/conditions.md lists every reason.

ModelReady · ReplicasReady · BalancerReady  ──►  Ready
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from fastgen.contract import FastGenDeployment, labels
from fastgen.contract.status import (
    MAX_DECISIONS,
    AutoscalingStatus,
    Condition,
    ConditionStatus,
    ConditionType,
    FastGenDeploymentStatus,
    ScalingDecision,
)
from fastgen_operator.autoscaler import Decision, State
from fastgen_operator.autoscaler.capacity import estimate
from fastgen_operator.rounding import two_digits
from fastgen_operator.workloads import Rollout, Trouble

MESSAGE_CHARACTERS = 1024


class Problem(NamedTuple):
    """Why the operator could not do what the manifest asks; what ran before goes on."""

    reason: str
    message: str


@dataclass(frozen=True)
class Observation:
    """Everything the status is made from."""

    deployment: FastGenDeployment
    generation: int
    """metadata.generation of the object that was looked at."""
    replicas: Rollout
    balancers: Rollout
    trouble: Trouble | None = None
    """Why replicas are not ready."""
    balancer_trouble: Trouble | None = None
    problem: Problem | None = None
    """The manifest cannot run here, or the API server refused an object."""
    decision: Decision | None = None
    """The autoscaler's last; None before the first, and without autoscaling."""
    previous: FastGenDeploymentStatus | None = None
    remarks: tuple[str, ...] = ()
    """What others did to our objects of late, and what is waited for; Progressing tells it."""


class _Verdict(NamedTuple):
    status: ConditionStatus
    reason: str
    message: str


def status_of(seen: Observation, now: datetime) -> FastGenDeploymentStatus:
    """The whole status. The same observation gives the same status, so nothing is written that did not change."""
    model, replicas, balancer = _model(seen), _replicas(seen), _balancer(seen)
    verdicts: dict[ConditionType, _Verdict] = {
        "Ready": _ready(seen, model, balancer),
        "ModelReady": model,
        "ReplicasReady": replicas,
        "BalancerReady": balancer,
        "AutoscalingActive": _autoscaling(seen),
        "Progressing": _with_remarks(_progressing(seen), seen.remarks),
    }
    attainment = seen.decision.numbers.attainment if seen.decision is not None else None
    previous = seen.previous.conditions if seen.previous is not None else ()
    service = seen.deployment.spec.balancer.service
    return FastGenDeploymentStatus(
        observed_generation=seen.generation,
        replicas=seen.replicas.replicas,
        ready_replicas=seen.replicas.ready,
        updated_replicas=seen.replicas.updated if seen.replicas.is_current else 0,
        balancer_ready_replicas=seen.balancers.ready,
        selector=labels.selector_text(labels.selector_labels(seen.deployment.name, labels.COMPONENT_REPLICA)),
        address=f"http://{seen.deployment.name}.{seen.deployment.metadata.namespace}.svc:{service.port}/v1",
        effective_ratio=None if attainment is None else f"{attainment:.3f}",
        autoscaling=_autoscaling_status(seen, now),
        conditions=[
            condition(kind, verdict.status, Problem(verdict.reason, verdict.message), seen.generation, previous, now)
            for kind, verdict in verdicts.items()
        ],
    )


def condition(
    kind: ConditionType,
    status: ConditionStatus,
    why: Problem,
    generation: int,
    previous: Sequence[Condition],
    now: datetime,
) -> Condition:
    """The time of the last transition stays until the status flips."""
    before = next((each for each in previous if each.type == kind), None)
    kept = before is not None and before.status == status
    return Condition(
        type=kind,
        status=status,
        observed_generation=generation,
        last_transition_time=before.last_transition_time if before is not None and kept else time_text(now),
        reason=why.reason,
        message=why.message[:MESSAGE_CHARACTERS],
    )


def time_text(moment: datetime) -> str:
    """As Kubernetes writes it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _ready(seen: Observation, model: _Verdict, balancer: _Verdict) -> _Verdict:
    """Requests are answered, and by nothing that an older spec made."""
    if seen.problem is not None:
        return _Verdict("False", seen.problem.reason, seen.problem.message)
    if seen.deployment.spec.suspend:
        return _Verdict("False", "Suspended", "spec.suspend is true; set it to false to serve again")
    if balancer.status != "True":
        return balancer
    if seen.replicas.exists and not seen.replicas.only_current_serves:
        return _Verdict("False", "RollingOut", f"replicas of an older spec still serve: {_counts(seen.replicas)}")
    if seen.replicas.wanted == 0:
        if _may_sleep(seen.deployment):
            return _Verdict("True", "Asleep", "no replica runs; the first request wakes one and waits for it")
        return _Verdict("False", "NoReplicas", f"spec.replicas is 0; {_scale_command(seen.deployment)}")
    if model.status != "True":
        return model
    return _Verdict("True", "Serving", _counts(seen.replicas))


def _model(seen: Observation) -> _Verdict:
    """A replica of the present spec has loaded the model."""
    if seen.problem is not None and seen.problem.reason == "ModelSourceUnsupported":
        return _Verdict("False", seen.problem.reason, seen.problem.message)
    rollout = seen.replicas
    if rollout.wanted == 0:
        return _Verdict("Unknown", "NoReplicas", "no replica runs, so none has loaded the model")
    if rollout.only_current_serves and rollout.ready > 0:
        who = "1 replica has" if rollout.ready == 1 else f"{rollout.ready} replicas have"
        return _Verdict("True", "Loaded", f"{who} loaded {seen.deployment.spec.model.source}")
    if seen.trouble is not None and seen.trouble.reason != "Unschedulable":
        return _Verdict("False", *seen.trouble)
    if seen.trouble is not None:
        return _Verdict("False", "Waiting", "no replica of the present spec has a node yet")
    return _Verdict("False", "Loading", f"loading {seen.deployment.spec.model.source}: {_counts(rollout)}")


def _replicas(seen: Observation) -> _Verdict:
    """As many replicas as asked for, all of the present spec, all ready."""
    rollout = seen.replicas
    if seen.problem is not None:
        return _Verdict("Unknown" if not rollout.exists else "False", seen.problem.reason, seen.problem.message)
    if not rollout.exists:
        return _Verdict("False", "NotCreated", "the replicas' Deployment does not exist yet")
    if rollout.is_done:
        return _Verdict("True", "AllReady" if rollout.wanted else "NoneWanted", _counts(rollout))
    if seen.trouble is not None:
        return _Verdict("False", seen.trouble.reason, f"{_counts(rollout)}; {seen.trouble.message}")
    return _Verdict("False", "Waiting" if rollout.only_current_serves else "RollingOut", _counts(rollout))


def _balancer(seen: Observation) -> _Verdict:
    """A balancer of the present spec takes requests."""
    rollout = seen.balancers
    if seen.deployment.spec.suspend:
        return _Verdict("False", "Suspended", "spec.suspend is true; no balancer runs")
    if not rollout.exists:
        return _Verdict("False", "NotCreated", "the balancers' Deployment does not exist yet")
    if not rollout.only_current_serves:
        return _Verdict("False", "RollingOut", f"balancers of an older spec still serve: {_counts(rollout)}")
    if rollout.ready == 0:
        if seen.balancer_trouble is not None:
            return _Verdict("False", *seen.balancer_trouble)
        return _Verdict("False", "Waiting", f"balancers: {_counts(rollout)}")
    return _Verdict("True", "AllReady" if rollout.is_done else "SomeReady", f"balancers: {_counts(rollout)}")


def _autoscaling(seen: Observation) -> _Verdict:
    """The autoscaler decides, on what it knows."""
    autoscaling = seen.deployment.spec.autoscaling
    if autoscaling is None:
        return _Verdict("False", "NotConfigured", "spec.autoscaling is not set; spec.replicas is yours")
    if seen.deployment.spec.suspend:
        return _Verdict("False", "Suspended", "spec.suspend is true; nothing is scaled")
    if seen.decision is None:
        return _Verdict("Unknown", "Starting", "the autoscaler has not looked yet")
    # Numbers change with every look; they are in status.autoscaling and in metrics. A condition changes with reasons.
    reason = seen.decision.reason
    if not seen.decision.is_informed:
        return _Verdict("False", reason, seen.decision.message)
    if autoscaling.mode == "Advisory":
        return _Verdict("True", "Advisory", f"computing only, as spec.autoscaling.mode says; its reason now: {reason}")
    return _Verdict("True", reason, _REASONS.get(reason, "see status.autoscaling"))


_REASONS = {
    "WithinBand": "as many replicas as the demand needs",
    "DemandAboveCapacity": "demand is above 85 % of what the replicas can do in time",
    "DemandFitsFewer": "demand fits fewer replicas",
    "AttainmentBelowTarget": "fewer requests than spec.sla.target keep the promise",
    "Stabilizing": "waiting for the recommendation to hold, as spec.autoscaling.behavior says",
    "PolicyLimited": "spec.autoscaling.behavior bounds the speed",
    "AtMaximum": "more replicas are needed than maxReplicas allows; raise it, or expect promises to be missed",
    "AtMinimum": "minReplicas keeps more replicas than are needed",
    "PendingTooLong": "replicas did not become ready in time: add nodes (or GPUs), or look at the pods' events",
    "CapacityUnknown": "no replica measured what it can do; it is learnt when promises are first missed",
    "MetricsIncomplete": "some replicas or balancers are not scraped; nothing is taken away before they are",
    "KvCacheNeeded": "fewer replicas would fill their KV caches",
    "WakeFromZero": "requests are held for a replica to wake",
    "Idle": "no request arrives, waits or runs",
}


def _progressing(seen: Observation) -> _Verdict:
    """Something is still on its way."""
    if seen.problem is not None:
        return _Verdict("False", seen.problem.reason, seen.problem.message)
    for what, rollout in (("replicas", seen.replicas), ("balancers", seen.balancers)):
        if rollout.is_stuck and not rollout.is_done:
            return _Verdict("False", "Stuck", f"{what} make no progress: {_counts(rollout)}; see ReplicasReady")
    for what, rollout in (("replicas", seen.replicas), ("balancers", seen.balancers)):
        if not rollout.is_done:
            return _Verdict("True", "RollingOut", f"{what}: {_counts(rollout)}")
    return _Verdict("False", "UpToDate", "everything is as the manifest says")


def _with_remarks(verdict: _Verdict, remarks: Sequence[str]) -> _Verdict:
    return verdict._replace(message="; ".join((verdict.message, *remarks)))


def _autoscaling_status(seen: Observation, now: datetime) -> AutoscalingStatus | None:
    autoscaling, decision = seen.deployment.spec.autoscaling, seen.decision
    before = seen.previous.autoscaling if seen.previous is not None else None
    if autoscaling is None:
        return None
    if decision is None:
        return before
    numbers = decision.numbers
    decisions = list(before.decisions) if before is not None else []
    asked = seen.deployment.spec.replicas if before is None else before.desired_replicas
    if decision.replicas != asked:
        decisions.insert(0, _scaling_decision(decision, asked, now))
    each = estimate(decision.new_state)
    return AutoscalingStatus(
        desired_replicas=decision.replicas,
        capacity_tokens_per_second=two_digits(each),
        capacity_factor=factor_text(decision.new_state),
        demand_tokens_per_second=two_digits(numbers.demand_tokens_per_second),
        decisions=decisions[:MAX_DECISIONS],
    )


def factor_text(state: State) -> str:
    """Two digits are enough to start from again."""
    return f"{state.capacity_factor:.2f}"


def _scaling_decision(decision: Decision, previous: int, now: datetime) -> ScalingDecision:
    numbers = decision.numbers
    return ScalingDecision(
        time=time_text(now),
        replicas=decision.replicas,
        previous_replicas=previous,
        reason=decision.reason,
        message=decision.message[:MESSAGE_CHARACTERS],
        demand_tokens_per_second=two_digits(numbers.demand_tokens_per_second),
        supply_tokens_per_second=two_digits(numbers.supply_tokens_per_second),
        attainment=None if numbers.attainment is None else f"{numbers.attainment:.3f}",
    )


def _may_sleep(deployment: FastGenDeployment) -> bool:
    autoscaling = deployment.spec.autoscaling
    return autoscaling is not None and autoscaling.min_replicas == 0


def _scale_command(deployment: FastGenDeployment) -> str:
    return f"kubectl scale fgd/{deployment.name} --replicas=1"


def _counts(rollout: Rollout) -> str:
    ready, wanted = rollout.ready, rollout.wanted
    text = f"{ready} of {wanted} ready" if ready <= wanted else f"{ready} ready, {wanted} wanted"
    updated = rollout.updated if rollout.is_current else 0
    return text if updated == rollout.replicas else f"{text}, {updated} of {rollout.replicas} from the present spec"
