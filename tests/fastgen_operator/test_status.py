"""What `kubectl get fgd` and `kubectl describe` say, and when Ready is true."""

from __future__ import annotations

import dataclasses
import re
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from live_objects import child, live

from fastgen.contract import labels
from fastgen.contract.status import Condition
from fastgen_operator.autoscaler import Decision, Numbers, State
from fastgen_operator.status import Observation, Problem, status_of
from fastgen_operator.workloads import Rollout, Trouble, num_late, rollout_of, trouble_of

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
GONE = Rollout()
DONE = Rollout(True, wanted=2, replicas=2, ready=2, updated=2, is_current=True)
ASLEEP = Rollout(True, wanted=0, is_current=True)
AUTO = {"minReplicas": 0, "maxReplicas": 4, "prometheus": {"url": "http://p"}}


def seen(replicas: Rollout = DONE, balancers: Rollout = DONE, **more: Any) -> Observation:
    spec = more.pop("spec", {"replicas": replicas.wanted})
    return Observation(live(**spec), 7, replicas, balancers, **more)


def conditions(observation: Observation) -> dict[str, Condition]:
    return {condition.type: condition for condition in status_of(observation, NOW).conditions}


def told(observation: Observation) -> dict[str, str]:
    return {kind: f"{c.status} {c.reason}" for kind, c in conditions(observation).items()}


@pytest.mark.parametrize(
    ("observation", "ready", "model", "replicas", "balancer", "progressing"),
    [
        (seen(), "True Serving", "True Loaded", "True AllReady", "True AllReady", "False UpToDate"),
        (
            seen(GONE._replace(wanted=2), GONE._replace(wanted=2)),
            "False NotCreated", "False Loading", "False NotCreated", "False NotCreated", "True RollingOut",
        ),
        (
            seen(DONE._replace(ready=0)),
            "False Loading", "False Loading", "False Waiting", "True AllReady", "True RollingOut",
        ),
        (
            seen(DONE._replace(ready=1)),
            "True Serving", "True Loaded", "False Waiting", "True AllReady", "True RollingOut",
        ),
        (
            seen(DONE._replace(replicas=3, updated=1)),
            "False RollingOut", "False Loading", "False RollingOut", "True AllReady", "True RollingOut",
        ),
        (
            seen(DONE._replace(is_current=False)),
            "False RollingOut", "False Loading", "False RollingOut", "True AllReady", "True RollingOut",
        ),
        (
            seen(DONE, DONE._replace(updated=1)),
            "False RollingOut", "True Loaded", "True AllReady", "False RollingOut", "True RollingOut",
        ),
        (
            seen(DONE, DONE._replace(ready=1)),
            "True Serving", "True Loaded", "True AllReady", "True SomeReady", "True RollingOut",
        ),
        (
            seen(DONE._replace(ready=0), trouble=Trouble("LoadFailed", "no config.json")),
            "False LoadFailed", "False LoadFailed", "False LoadFailed", "True AllReady", "True RollingOut",
        ),
        (
            seen(DONE._replace(ready=0), trouble=Trouble("Unschedulable", "no GPU is free")),
            "False Waiting", "False Waiting", "False Unschedulable", "True AllReady", "True RollingOut",
        ),
        (
            seen(DONE._replace(ready=1, is_stuck=True)),
            "True Serving", "True Loaded", "False Waiting", "True AllReady", "False Stuck",
        ),
        (
            seen(ASLEEP, spec={"replicas": 0}),
            "False NoReplicas", "Unknown NoReplicas", "True NoneWanted", "True AllReady", "False UpToDate",
        ),
        (
            seen(ASLEEP, spec={"replicas": 0, "autoscaling": AUTO}),
            "True Asleep", "Unknown NoReplicas", "True NoneWanted", "True AllReady", "False UpToDate",
        ),
        (
            seen(ASLEEP, ASLEEP, spec={"suspend": True}),
            "False Suspended", "Unknown NoReplicas", "True NoneWanted", "False Suspended", "False UpToDate",
        ),
        (
            seen(problem=Problem("ModelSourceUnsupported", "write pvc://")),
            *["False ModelSourceUnsupported"] * 3, "True AllReady", "False ModelSourceUnsupported",
        ),
    ],
)  # fmt: skip
def test_conditions(
    observation: Observation, ready: str, model: str, replicas: str, balancer: str, progressing: str
) -> None:
    found = told(observation)
    del found["AutoscalingActive"]
    assert found == {
        "Ready": ready,
        "ModelReady": model,
        "ReplicasReady": replicas,
        "BalancerReady": balancer,
        "Progressing": progressing,
    }


def test_ready_is_never_true_while_an_old_generation_serves() -> None:
    for wanted, replicas, ready, updated, current in product((0, 1, 2), (0, 1, 2), (0, 1, 2), (0, 1, 2), (True, False)):
        rollout = Rollout(True, wanted, replicas, min(ready, replicas), min(updated, replicas), current)
        for auto in ({}, {"autoscaling": AUTO}):
            spec = {"replicas": wanted, **auto}
            for observation in (seen(rollout, spec=spec), seen(DONE, rollout, spec={"replicas": 2, **auto})):
                if conditions(observation)["Ready"].status == "True":
                    assert current
                    assert rollout.updated == rollout.replicas


def test_every_message_that_says_no_says_something() -> None:
    for condition in conditions(seen(GONE, GONE)).values():
        assert condition.message


def test_a_transition_keeps_its_time_until_the_status_flips() -> None:
    first = status_of(seen(DONE._replace(ready=0)), NOW)
    later = NOW + timedelta(minutes=5)
    still = status_of(seen(DONE._replace(ready=0), trouble=Trouble("LoadFailed", "x"), previous=first), later)
    flipped = status_of(seen(previous=still), later)

    def ready(status: Any) -> Condition:
        return next(c for c in status.conditions if c.type == "Ready")

    assert ready(still).reason != ready(first).reason
    assert ready(still).last_transition_time == ready(first).last_transition_time == "2026-03-04T05:06:07Z"
    assert ready(flipped).last_transition_time == "2026-03-04T05:11:07Z"
    assert {c.observed_generation for c in first.conditions} == {7}


def decision(replicas: int = 3, reason: str = "DemandAboveCapacity", *, informed: bool = True, **more: Any) -> Decision:
    numbers = Numbers(1234.5, 2000.0, 1000.0, 0.9876)
    state = State(measured_tokens_per_second=1000.0, capacity_factor=0.8)
    return Decision(replicas, reason, "demand 1235 tokens/s", numbers, more.pop("state", state), informed)


@pytest.mark.parametrize(
    ("spec", "made", "expected"),
    [
        ({}, None, "False NotConfigured"),
        ({"autoscaling": AUTO}, None, "Unknown Starting"),
        ({"autoscaling": AUTO}, decision(), "True DemandAboveCapacity"),
        ({"autoscaling": AUTO | {"mode": "Advisory"}}, decision(), "True Advisory"),
        ({"autoscaling": AUTO}, decision(reason="MetricsStale", informed=False), "False MetricsStale"),
        ({"autoscaling": AUTO, "suspend": True}, decision(), "False Suspended"),
    ],
)
def test_the_autoscaler_says_whether_it_can_decide(spec: Any, made: Decision | None, expected: str) -> None:
    assert told(seen(spec=spec, decision=made))["AutoscalingActive"] == expected


def test_decisions_are_published_newest_first_and_only_when_they_change_something() -> None:
    spec = {"replicas": 2, "autoscaling": AUTO}
    status = status_of(seen(spec=spec, decision=decision(3)), NOW)
    assert status.autoscaling is not None
    assert (status.autoscaling.desired_replicas, status.autoscaling.capacity_factor) == (3, "0.80")
    assert (status.autoscaling.capacity_tokens_per_second, status.effective_ratio) == (800, "0.988")
    (first,) = status.autoscaling.decisions
    assert (first.previous_replicas, first.replicas, first.demand_tokens_per_second) == (2, 3, 1200)
    again = status_of(seen(spec=spec, decision=decision(3, "WithinBand"), previous=status), NOW)
    assert again.autoscaling is not None
    assert again.autoscaling.decisions == status.autoscaling.decisions
    for replicas in (4, 3, 2, 1, 2, 3):
        again = status_of(seen(spec=spec, decision=decision(replicas), previous=again), NOW)
    assert again.autoscaling is not None
    assert [made.replicas for made in again.autoscaling.decisions] == [3, 2, 1, 2, 3]


def test_the_same_observation_gives_the_same_status_so_nothing_is_written() -> None:
    spec = {"replicas": 2, "autoscaling": AUTO}
    first = status_of(seen(spec=spec, decision=decision(2, "WithinBand")), NOW)
    wobbling = decision(2, "WithinBand")
    wobbling = wobbling._replace(
        message="demand 1236 tokens/s", numbers=wobbling.numbers._replace(demand_tokens_per_second=1236.0)
    )
    later = status_of(seen(spec=spec, decision=wobbling, previous=first), NOW + timedelta(hours=1))
    assert later == first


def test_the_status_is_one_the_contract_takes_and_names_where_clients_go() -> None:
    status = status_of(seen(), NOW)
    assert status.address == "http://llama.models.svc:80/v1"
    assert status.selector == "app.kubernetes.io/component=replica,fastgen.dev/deployment=llama"
    assert type(status).model_validate(status.to_manifest()) == status
    assert status.to_manifest()["readyReplicas"] == 2
    asleep = status_of(seen(ASLEEP), NOW).to_manifest()
    assert (asleep["replicas"], asleep["readyReplicas"]) == (0, 0)


# -- what children say ----------------------------------------------------------------------------------------------


def pod(made_from: str = "new", *, ready: bool = True, age_seconds: float = 0, **status: Any) -> dict[str, Any]:
    created = (NOW - timedelta(seconds=age_seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    metadata: dict[str, Any] = {"name": "p", "annotations": {labels.SPEC_HASH: made_from}, "creationTimestamp": created}
    conditions = [{"type": "Ready", "status": str(ready)}, *status.pop("conditions", [])]
    if status.pop("leaving", False):
        metadata["deletionTimestamp"] = created
    return {"metadata": metadata, "status": {"phase": "Running", "conditions": conditions, **status}}


def test_pods_are_counted_by_what_they_were_made_from() -> None:
    should = child(live(replicas=2), "Deployment", "llama-replica")
    new = should["metadata"]["annotations"][labels.SPEC_HASH]
    old = child(live(replicas=2, engine={"tokenBudget": 8}), "Deployment", "llama-replica")
    assert rollout_of(None, should, []) == Rollout(wanted=2)
    assert rollout_of(should, should, [pod(new), pod(new)]).is_done
    rolling = rollout_of(
        should, should, [pod(new, ready=False), pod("old"), pod("old", leaving=True), pod(new, phase="Failed")]
    )
    assert (rolling.replicas, rolling.ready, rolling.updated) == (2, 1, 1)
    assert not rolling.only_current_serves
    assert not rollout_of(old, should, [pod(new), pod(new)]).only_current_serves
    stuck = {**should, "status": {"conditions": [{"type": "Progressing", "reason": "ProgressDeadlineExceeded"}]}}
    assert rollout_of(stuck, should, []).is_stuck


def test_pods_that_do_not_become_ready_are_late() -> None:
    pods = [pod(ready=False, age_seconds=901), pod(ready=False, age_seconds=899), pod(age_seconds=9999)]
    pods.append(pod(ready=False, age_seconds=9999, leaving=True))
    assert num_late(pods, NOW, 900) == 1


def waiting(reason: str, message: str | None = None, last: dict[str, Any] | None = None) -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"containerStatuses": [{"image": "i:1", "restartCount": 3, "state": state, "lastState": last or {}}]}


CRASHED = {"terminated": {"exitCode": 2, "message": "fastgen: there is no config.json"}}
OUT_OF_MEMORY = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
NO_NODE = {"type": "PodScheduled", "status": "False", "message": "Insufficient nvidia.com/gpu"}


@pytest.mark.parametrize(
    ("status", "reason", "words"),
    [
        ({}, None, ""),
        (waiting("ContainerCreating"), None, ""),
        (waiting("ImagePullBackOff"), "ImageUnavailable", "i:1"),
        (waiting("CreateContainerConfigError", 'secret "hf" not found'), "Misconfigured", 'secret "hf" not found'),
        (
            waiting("CrashLoopBackOff", last=CRASHED),
            "LoadFailed",
            "with 2 (3 restarts): fastgen: there is no config.json",
        ),
        (waiting("CrashLoopBackOff", last=OUT_OF_MEMORY), "LoadFailed", "raise spec.resources.limits.memory"),
        ({"conditions": [NO_NODE]}, "Unschedulable", "Insufficient nvidia.com/gpu"),
    ],
)
def test_why_a_pod_is_not_ready(status: dict[str, Any], reason: str | None, words: str) -> None:
    found = trouble_of([pod(ready=False, **status)])
    assert (found.reason if found else None) == reason
    assert words in (found.message if found else "")
    assert trouble_of([pod(**status)]) is None


def test_every_reason_is_documented() -> None:
    root = Path(__file__).parents[2]
    package = root / "operator" / "fastgen_operator"
    names = ("status.py", "workloads.py", "desired/__init__.py", "desired/model.py", "autoscaler/signals.py")
    code = "\n".join((package / name).read_text(encoding="utf-8") for name in (*names, "autoscaler/decision.py"))
    made = re.findall(r'(?:Verdict\(\s*"\w+"( if [^,]* else "\w+")?,|Trouble\(|Error\(|Wish\([^,"]*,)\s*"(\w+)"', code)
    reasons = {name for _, name in made} | set(re.findall(r'return "(\w+)", \(', code))
    assert {"Serving", "LoadFailed", "TenantsUnsupported", "MetricsStale", "PendingTooLong"} <= reasons
    text = "".join((root / "docs" / name).read_text(encoding="utf-8") for name in ("conditions.md", "autoscaling.md"))
    assert {reason for reason in reasons if f"`{reason}`" not in text} == set()


def test_a_status_of_another_observation_is_another() -> None:
    assert status_of(dataclasses.replace(seen(), generation=8), NOW) != status_of(seen(), NOW)
