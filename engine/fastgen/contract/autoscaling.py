"""How the number of replicas follows the load: `spec.autoscaling`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fastgen.contract.base import ManifestObject, Rule

MAX_REPLICAS = 1000


class PrometheusSpec(ManifestObject):
    """Where the autoscaler reads its signals."""

    url: str = Field(pattern=r"^https?://[^\s/]+(/\S*)?$", max_length=1024)
    """Base address of the Prometheus API, such as http://prometheus.monitoring:9090."""


class ScalingPolicy(ManifestObject):
    """A bound on how fast replicas may change, as in a HorizontalPodAutoscaler."""

    type: Literal["Pods", "Percent"]
    """Whether `value` counts replicas (Pods) or is a share of the current ones (Percent)."""

    value: int = Field(ge=1, le=100_000)
    """The most that may change within the period."""

    period_seconds: int = Field(ge=1, le=1800)
    """Length of the period."""


class ScalingRules(ManifestObject):
    """One direction of scaling."""

    stabilization_window_seconds: int | None = Field(default=None, ge=0, le=3600)
    """How long a recommendation must have held. Without it: 0 for up, 300 for down."""

    select_policy: Literal["Max", "Min", "Disabled"] = "Max"
    """Which policy counts where several are given: the one that allows most (Max), least (Min), or none (Disabled)."""

    policies: Annotated[list[ScalingPolicy], Field(max_length=10)] = Field(default_factory=list)
    """Bounds on the speed. Without any, the direction is not bounded."""


class ScalingBehavior(ManifestObject):
    """Speed and patience of scaling, with the names of a HorizontalPodAutoscaler (autoscaling/v2)."""

    scale_up: ScalingRules = ScalingRules()
    """Adding replicas."""

    scale_down: ScalingRules = ScalingRules()
    """Taking replicas away."""


class AutoscalingSpec(ManifestObject):
    """Scale by how many requests keep their promise. While set, `spec.replicas` belongs to the autoscaler."""

    min_replicas: int = Field(default=1, ge=0, le=MAX_REPLICAS)
    """Never fewer. 0 lets an idle model sleep; the balancer holds the request that wakes it."""

    max_replicas: int = Field(ge=1, le=MAX_REPLICAS)
    """Never more."""

    prometheus: PrometheusSpec
    """Where the signals come from."""

    window_seconds: int = Field(default=120, ge=20, le=3600)
    """How far back the share of requests that kept the promise is taken from; load is averaged over half of it.
    Shorter reacts sooner, and needs more requests and a scrape interval of at most a tenth of it."""

    behavior: ScalingBehavior = ScalingBehavior()
    """Speed and patience of scaling."""

    mode: Literal["Active", "Advisory"] = "Active"
    """Active scales. Advisory computes and publishes every decision and changes nothing."""

    RULES = (
        Rule(
            "minReplicas",
            "at most maxReplicas",
            "self.minReplicas <= self.maxReplicas",
            lambda self: self.min_replicas <= self.max_replicas,
        ),
    )
