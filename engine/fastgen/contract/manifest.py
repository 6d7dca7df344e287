"""The manifest: what `kubectl apply` and `fastgen up` take (group fastgen.dev, version v1alpha1)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from fastgen.contract import labels
from fastgen.contract.autoscaling import MAX_REPLICAS, AutoscalingSpec
from fastgen.contract.base import ManifestObject
from fastgen.contract.engine_spec import EngineSpec, SlaSpec
from fastgen.contract.model_source import ModelSpec
from fastgen.contract.pods import BalancerSpec, PodTemplate, ResourcesSpec, TenantsSpec

NAME_PATTERN = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"


class Metadata(ManifestObject):
    """Name and labels. What else a live object carries (uid, managedFields and so on) is accepted and unused."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(pattern=NAME_PATTERN, max_length=labels.MAX_NAME_LENGTH)
    """Name of the deployment, and of the model in API requests: lower-case letters, digits and '-', at most 40."""

    namespace: str | None = Field(default=None, min_length=1, max_length=63)
    """Namespace in the cluster."""

    labels: dict[str, str] = Field(default_factory=dict)
    """Labels of the deployment."""

    annotations: dict[str, str] = Field(default_factory=dict)
    """Annotations of the deployment."""


class FastGenDeploymentSpec(ManifestObject):
    """What should run. Only `model` must be written; everything else has a default."""

    model: ModelSpec
    """The model to serve."""

    engine: EngineSpec = EngineSpec()
    """How each replica computes."""

    sla: SlaSpec = SlaSpec()
    """The latency promise that requests are judged by."""

    replicas: int = Field(default=1, ge=0, le=MAX_REPLICAS)
    """Engines to run. Owned by the autoscaler, through the scale subresource, once `autoscaling` is set."""

    autoscaling: AutoscalingSpec | None = None
    """Let the number of replicas follow the load."""

    balancer: BalancerSpec = BalancerSpec()
    """The load balancer in front of the replicas."""

    tenants: TenantsSpec | None = None
    """API keys and their limits. Without it, everyone who reaches the Service may ask."""

    resources: ResourcesSpec = ResourcesSpec()
    """What each replica asks of its node, such as limits: {nvidia.com/gpu: 1}."""

    pod_template: PodTemplate = PodTemplate()
    """Additions to the replicas' pods."""

    suspend: bool = False
    """Run nothing, and keep the deployment and its model cache."""


class FastGenDeployment(ManifestObject):
    """A model served by replicas of the FastGen engine behind a load balancer."""

    api_version: Literal["fastgen.dev/v1alpha1"]
    """fastgen.dev/v1alpha1"""

    kind: Literal["FastGenDeployment"]
    """FastGenDeployment"""

    metadata: Metadata
    """Name and labels."""

    spec: FastGenDeploymentSpec
    """What should run."""

    status: dict[str, Any] | None = None
    """What does run. Written by the operator; ignored where it is read from a file."""

    @property
    def name(self) -> str:
        return self.metadata.name

    def renamed(self, name: str) -> FastGenDeployment:
        """The same deployment under another name, which is not checked here (see local_state.check_name)."""
        return self.model_copy(update={"metadata": self.metadata.model_copy(update={"name": name})})

    @classmethod
    def of(cls, name: str, spec: FastGenDeploymentSpec) -> FastGenDeployment:
        """A deployment made in Python rather than read from a file."""
        return cls(api_version=labels.API_VERSION, kind=labels.KIND, metadata=Metadata(name=name), spec=spec)
