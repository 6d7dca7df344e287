"""What should exist for a FastGenDeployment: pure, one file for each kind of object.

manifest, what the cluster has  ──desired()──►  objects  ──(elsewhere) apply what differs──►  cluster
"""

from __future__ import annotations

from fastgen.contract import FastGenDeployment
from fastgen_operator.desired import access, balancer, disruption, model, monitoring, replicas, services
from fastgen_operator.desired.common import CannotRunError, Images, KubeObject, Observed

__all__ = ["CannotRunError", "Images", "KubeObject", "Observed", "desired"]


def desired(deployment: FastGenDeployment, observed: Observed) -> list[KubeObject]:
    """Every object that should exist, in the order to apply them: what others refer to comes first.

    Replicas are `spec.replicas` and nothing else: a person, an autoscaler or `kubectl scale` writes that field, and
    nobody writes the child's.

    Raises CannotRunError for a manifest that passed the schema and cannot run here. Then nothing should be changed
    or deleted: what ran before goes on.
    """
    _refuse_unkept_promises(deployment)
    source = model.mount(deployment)
    return [
        *model.cache_claim(deployment),
        *access.balancer_access(deployment),
        services.replicas(deployment),
        services.balancer(deployment),
        replicas.replicas(deployment, source, observed),
        balancer.balancer(deployment, observed),
        *disruption.budgets(deployment),
        *(monitoring.service_monitor(deployment) if observed.has_service_monitors else ()),
    ]


def _refuse_unkept_promises(deployment: FastGenDeployment) -> None:
    """A field that would be ignored, where ignoring it lets strangers in."""
    if deployment.spec.tenants is not None:
        raise CannotRunError(
            "TenantsUnsupported",
            "spec.tenants: this version checks no API keys, so the model would be open to everyone who reaches the "
            "Service; remove spec.tenants, and let a NetworkPolicy or a gateway in front say who may ask",
        )
