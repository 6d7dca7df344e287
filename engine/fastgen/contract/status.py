"""What the operator says about a FastGenDeployment: `status`. Kubernetes APIs carry no floating point, so shares are
text and rates are whole tokens per second."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fastgen.contract.base import ManifestObject

ConditionType = Literal["Ready", "ModelReady", "ReplicasReady", "BalancerReady", "AutoscalingActive", "Progressing"]
ConditionStatus = Literal["True", "False", "Unknown"]
MAX_DECISIONS = 5
Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Count = Annotated[int, Field(ge=0)]


class Condition(ManifestObject):
    """One thing that is so or not, as the Kubernetes API conventions want it."""

    type: ConditionType
    """What it is about: Ready sums the others up."""

    status: ConditionStatus
    """True, False or Unknown."""

    observed_generation: Count
    """The metadata.generation it was said of. Older than the object's own: the operator has not looked yet."""

    last_transition_time: Time
    """When the status last changed."""

    reason: str = Field(pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$", max_length=1024)
    """Why, in one word for programs."""

    message: str = Field(max_length=32768)
    """Why, and what to do about it, for people."""


class ScalingDecision(ManifestObject):
    """One decision of the autoscaler, with the numbers it was made from."""

    time: Time
    """When it was made."""

    replicas: Count
    """Replicas it asked for."""

    previous_replicas: Count
    """Replicas asked for before."""

    reason: str = Field(max_length=64)
    """Why, in one word."""

    message: str = Field(max_length=1024)
    """Why, with the numbers."""

    demand_tokens_per_second: Count | None = None
    """Tokens per second that arrive, and what it takes to drain the queue in time."""

    supply_tokens_per_second: Count | None = None
    """Tokens per second that the replicas can do while they keep the promise, pending ones included."""

    attainment: str | None = Field(default=None, max_length=8)
    """Share of requests that kept the promise."""


class AutoscalingStatus(ManifestObject):
    """What the autoscaler sees and did last."""

    desired_replicas: Count
    """What it asks for now; in mode Advisory, what it would ask for."""

    capacity_tokens_per_second: Count | None = None
    """What one replica can do while it keeps the promise: measured when it started, corrected by what was seen."""

    capacity_factor: str | None = Field(default=None, max_length=16)
    """That correction: 1 says the measurement was right, less that it promised too much."""

    demand_tokens_per_second: Count | None = None
    """Tokens per second that arrive, and what it takes to drain the queue in time."""

    decisions: Annotated[list[ScalingDecision], Field(max_length=MAX_DECISIONS)] = Field(default_factory=list)
    """The last decisions that changed something, newest first."""


class FastGenDeploymentStatus(ManifestObject):
    """What does run."""

    observed_generation: Count
    """The metadata.generation all of this was said of."""

    replicas: Count
    """Replicas there are, whether ready or not."""

    ready_replicas: Count
    """Replicas that answer requests."""

    updated_replicas: Count
    """Replicas made from the present spec."""

    balancer_ready_replicas: Count
    """Balancers that take requests."""

    selector: str = Field(max_length=1024)
    """Label selector of the replicas' pods, for autoscalers and `kubectl get pods -l`."""

    address: str | None = Field(default=None, max_length=512)
    """Where clients within the cluster find the OpenAI API."""

    effective_ratio: str | None = Field(default=None, max_length=8)
    """Share of the requests of the last minutes that kept the promise."""

    autoscaling: AutoscalingStatus | None = None
    """What the autoscaler sees and did last."""

    conditions: Annotated[
        list[Condition],
        Field(json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
    ]
    """Ready sums up ModelReady, ReplicasReady and BalancerReady; AutoscalingActive and Progressing say more."""
