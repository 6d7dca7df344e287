"""The status of an object that cannot be understood: it says so, and what goes on running. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import get_args

from fastgen.contract import labels
from fastgen.contract.status import ConditionStatus, ConditionType, FastGenDeploymentStatus
from fastgen_operator.status import Problem, condition
from fastgen_operator.workloads import Rollout


def status_of_invalid(
    name: str,
    generation: int,
    problem: Problem,
    replicas: Rollout,
    balancers: Rollout,
    previous: FastGenDeploymentStatus | None,
    now: datetime,
) -> FastGenDeploymentStatus:
    """Nothing is promised of it; what was made of it earlier is counted."""
    before = previous.conditions if previous is not None else ()
    return FastGenDeploymentStatus(
        observed_generation=generation,
        replicas=replicas.replicas,
        ready_replicas=replicas.ready,
        updated_replicas=0,
        balancer_ready_replicas=balancers.ready,
        selector=labels.selector_text(labels.selector_labels(name, labels.COMPONENT_REPLICA)),
        address=previous.address if previous is not None else None,
        autoscaling=previous.autoscaling if previous is not None else None,
        conditions=[
            condition(kind, _VERDICTS.get(kind, "Unknown"), problem, generation, before, now)
            for kind in get_args(ConditionType)
        ],
    )


_VERDICTS: dict[ConditionType, ConditionStatus] = {"Ready": "False", "Progressing": "False"}
