"""The kinds of objects the operator knows, and where the API server keeps them."""

from __future__ import annotations

from typing import NamedTuple

from fastgen.contract import labels


class Kind(NamedTuple):
    """One kind of object."""

    api_version: str
    kind: str
    plural: str

    @property
    def group(self) -> str:
        """Empty for the core group."""
        return self.api_version.rpartition("/")[0]

    def path(self, namespace: str | None, name: str | None = None, part: str | None = None) -> str:
        """Where it is served; `namespace` None means all of them, `part` is a subresource such as status."""
        root = f"/apis/{self.api_version}" if self.group else f"/api/{self.api_version}"
        steps = ["namespaces", namespace] if namespace is not None else []
        return "/".join([root, *steps, self.plural, *(step for step in (name, part) if step is not None)])


FASTGEN_DEPLOYMENTS = Kind(labels.API_VERSION, labels.KIND, labels.PLURAL)
PODS = Kind("v1", "Pod", "pods")
EVENTS = Kind("v1", "Event", "events")
LEASES = Kind("coordination.k8s.io/v1", "Lease", "leases")
SERVICE_MONITORS = Kind("monitoring.coreos.com/v1", "ServiceMonitor", "servicemonitors")

CHILDREN = (
    Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
    Kind("v1", "ServiceAccount", "serviceaccounts"),
    Kind("v1", "Service", "services"),
    Kind("rbac.authorization.k8s.io/v1", "Role", "roles"),
    Kind("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings"),
    Kind("apps/v1", "Deployment", "deployments"),
    Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
)
"""What every cluster has of what `desired` makes; SERVICE_MONITORS where the Prometheus operator is installed."""

_BY_NAME = {(kind.api_version, kind.kind): kind for kind in (*CHILDREN, SERVICE_MONITORS, FASTGEN_DEPLOYMENTS, PODS)}


def kind_of(api_version: str, kind: str) -> Kind:
    """Raises KeyError for one that the operator does not know."""
    return _BY_NAME[api_version, kind]
