"""What only a cluster understands: balancer and its Service, tenants, resources, pods."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from fastgen.contract import ports
from fastgen.contract.base import ManifestObject, Rule
from fastgen.contract.quantities import Quantity

BalancerPolicy = Literal["LeastWork", "RoundRobin"]
Port = Annotated[int, Field(ge=1, le=65535)]
KubernetesObject = Annotated[dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})]
"""Passed on to the pod as it is; its fields are the API server's to check."""


class LocalObjectRef(ManifestObject):
    """An object in the same namespace, by name."""

    name: str = Field(min_length=1, max_length=253)
    """Name of the object."""


class ServiceSpec(ManifestObject):
    """The Service in front of the balancer: the address that clients use."""

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    """Who can reach it, as for any Kubernetes Service."""

    port: Port = ports.SERVICE_HTTP
    """Port of the OpenAI-compatible HTTP API."""

    grpc_port: Port = ports.SERVICE_GRPC
    """Port of the gRPC API."""

    annotations: dict[str, str] = Field(default_factory=dict)
    """Annotations of the Service, as cloud load balancers want them."""

    RULES = (
        Rule(
            "grpcPort", "another port than port", "self.port != self.grpcPort", lambda self: self.port != self.grpc_port
        ),
    )


class ResourcesSpec(ManifestObject):
    """What each container asks of its node, as in any pod."""

    limits: dict[str, Quantity] = Field(default_factory=dict)
    """The most it may take, such as nvidia.com/gpu: 1."""

    requests: dict[str, Quantity] = Field(default_factory=dict)
    """What it is promised. Without them, the limits."""


class BalancerSpec(ManifestObject):
    """The load balancer in front of the replicas."""

    replicas: int = Field(default=2, ge=1, le=100)
    """Balancer pods. On one machine there is one."""

    policy: BalancerPolicy = "LeastWork"
    """LeastWork sends a request to the replica with the fewest outstanding tokens; RoundRobin takes turns."""

    service: ServiceSpec = ServiceSpec()
    """How clients reach it."""

    resources: ResourcesSpec | None = None
    """What each balancer pod asks of its node."""


class TenantsSpec(ManifestObject):
    """Who may use the model, and how much."""

    secret_ref: LocalObjectRef
    """Secret with API keys, weights and limits."""


class PodTemplate(ManifestObject):
    """Additions to the replicas' pods, with the names that a pod has."""

    image: str | None = Field(default=None, min_length=1, max_length=1024)
    """Serving image. Without it, the operator's own version."""

    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    """When a node fetches the image."""

    image_pull_secrets: list[LocalObjectRef] = Field(default_factory=list)
    """Secrets for a private registry."""

    labels: dict[str, str] = Field(default_factory=dict)
    """Labels of the pods, beside FastGen's own."""

    annotations: dict[str, str] = Field(default_factory=dict)
    """Annotations of the pods."""

    node_selector: dict[str, str] = Field(default_factory=dict)
    """Nodes must have these labels."""

    tolerations: list[KubernetesObject] = Field(default_factory=list)
    """Taints the pods put up with."""

    affinity: KubernetesObject | None = None
    """Affinity rules."""

    topology_spread_constraints: list[KubernetesObject] = Field(default_factory=list)
    """How pods spread over zones and nodes."""

    priority_class_name: str | None = None
    """Scheduling priority."""

    runtime_class_name: str | None = None
    """Container runtime, such as nvidia."""

    service_account_name: str | None = None
    """Account the pods run as; s3:// sources take their credentials from it."""

    security_context: KubernetesObject | None = None
    """Security context of the pod, beside FastGen's own non-root defaults."""

    env: list[KubernetesObject] = Field(default_factory=list)
    """More environment variables for the engine's container."""

    volumes: list[KubernetesObject] = Field(default_factory=list)
    """More volumes."""

    volume_mounts: list[KubernetesObject] = Field(default_factory=list)
    """Where the engine's container sees them."""

    termination_grace_period_seconds: int = Field(default=60, ge=1, le=3600)
    """How long a replica that is taken away may finish its streams."""
