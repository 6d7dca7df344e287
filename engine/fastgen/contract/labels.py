"""Labels, annotations and object names: how FastGen's objects are found in a cluster."""

from __future__ import annotations

from typing import Final

GROUP: Final = "fastgen.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = "fastgen.dev/v1alpha1"
KIND: Final = "FastGenDeployment"
PLURAL: Final = "fastgendeployments"
SINGULAR: Final = "fastgendeployment"
SHORT_NAME: Final = "fgd"
FIELD_MANAGER: Final = "fastgen-operator"

MAX_NAME_LENGTH: Final = 40
"""Names of child objects add a suffix and a hash and must fit in the 63 characters of a DNS label."""

NAME: Final = "app.kubernetes.io/name"
INSTANCE: Final = "app.kubernetes.io/instance"
COMPONENT: Final = "app.kubernetes.io/component"
MANAGED_BY: Final = "app.kubernetes.io/managed-by"
DEPLOYMENT: Final = f"{GROUP}/deployment"
"""Which FastGenDeployment an object belongs to."""

SPEC_HASH: Final = f"{GROUP}/spec-hash"
"""Annotation: hash of what the object was made from."""

SCRAPE: Final = "prometheus.io/scrape"
SCRAPE_PORT: Final = "prometheus.io/port"
SCRAPE_PATH: Final = "prometheus.io/path"
"""Annotations of pods that publish metrics."""

SERIES_DEPLOYMENT: Final = "fastgen_dev_deployment"
SERIES_NAMESPACE: Final = "namespace"
SERIES_POD: Final = "pod"
"""Labels that Prometheus must put on every series it scrapes from our pods: the pod's label DEPLOYMENT (this is how
Prometheus spells it), its namespace and its name. The autoscaler finds its series by the first two."""

COMPONENT_REPLICA: Final = "replica"
COMPONENT_BALANCER: Final = "balancer"


def selector_labels(deployment: str, component: str) -> dict[str, str]:
    """The labels that select the pods of one part of a deployment. They never change over its life."""
    return {DEPLOYMENT: deployment, COMPONENT: component}


def object_labels(deployment: str, component: str) -> dict[str, str]:
    """All labels of an object that belongs to a deployment."""
    return {
        NAME: "fastgen",
        INSTANCE: deployment,
        MANAGED_BY: FIELD_MANAGER,
        **selector_labels(deployment, component),
    }


def selector_text(labels: dict[str, str]) -> str:
    """Labels as `kubectl -l` and the balancer's `--pods-selector` take them."""
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


def replica_name(deployment: str) -> str:
    """Name of the object that runs the replicas."""
    return f"{deployment}-replica"


def balancer_name(deployment: str) -> str:
    """Name of the balancer's Deployment and ServiceAccount. Its Service is named as the deployment itself."""
    return f"{deployment}-balancer"


def model_cache_name(deployment: str) -> str:
    """Name of the claim on the volume that keeps downloaded weights."""
    return f"{deployment}-model-cache"
