"""The Deployment of the balancers."""

from __future__ import annotations

from fastgen.contract import FastGenDeployment, labels, ports
from fastgen.contract.command_line import balance_arguments
from fastgen_operator.desired import common, grace
from fastgen_operator.desired.common import KubeObject, Observed
from fastgen_operator.desired.merging import without_empty

CONTAINER = "balancer"
DEFAULT_RESOURCES: KubeObject = {"requests": {"cpu": "100m", "memory": "128Mi"}}


def balancer(deployment: FastGenDeployment, observed: Observed) -> KubeObject:
    """The Deployment. Its pods spread over nodes where they can."""
    spec = deployment.spec
    selector = labels.selector_labels(deployment.name, labels.COMPONENT_BALANCER)
    time = grace.divide(spec.pod_template.termination_grace_period_seconds + grace.BALANCER_EXTRA_SECONDS)
    return common.with_hash(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": common.metadata(deployment, labels.COMPONENT_BALANCER, labels.balancer_name(deployment.name)),
            "spec": {
                "replicas": 0 if spec.suspend else spec.balancer.replicas,
                "selector": {"matchLabels": selector},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
                "revisionHistoryLimit": 2,
                "template": {
                    "metadata": {
                        "labels": labels.object_labels(deployment.name, labels.COMPONENT_BALANCER),
                        "annotations": common.scrape_annotations(ports.BALANCER_HTTP),
                    },
                    "spec": without_empty(
                        {
                            "serviceAccountName": labels.balancer_name(deployment.name),
                            "containers": [_container(deployment, observed, time)],
                            "securityContext": common.pod_security(),
                            "terminationGracePeriodSeconds": time.total_seconds,
                            "enableServiceLinks": False,
                            "imagePullSecrets": [
                                {"name": secret.name} for secret in spec.pod_template.image_pull_secrets
                            ],
                            "topologySpreadConstraints": [
                                {
                                    "maxSkew": 1,
                                    "topologyKey": "kubernetes.io/hostname",
                                    "whenUnsatisfiable": "ScheduleAnyway",
                                    "labelSelector": {"matchLabels": selector},
                                }
                            ],
                        }
                    ),
                },
            },
        }
    )


def _container(deployment: FastGenDeployment, observed: Observed, time: grace.Grace) -> KubeObject:
    replicas = labels.selector_text(labels.selector_labels(deployment.name, labels.COMPONENT_REPLICA))
    resources = deployment.spec.balancer.resources
    return {
        "name": CONTAINER,
        "image": observed.images.light,
        "args": balance_arguments(
            deployment,
            pods_selector=replicas,
            namespace=common.namespace_of(deployment),
            grace_seconds=time.finish_seconds,
        ),
        "ports": [
            {"name": ports.NAME_HTTP, "containerPort": ports.BALANCER_HTTP},
            {"name": ports.NAME_GRPC, "containerPort": ports.BALANCER_GRPC},
        ],
        "resources": DEFAULT_RESOURCES
        if resources is None
        else without_empty(
            {
                "limits": {name: str(amount) for name, amount in resources.limits.items()},
                "requests": {name: str(amount) for name, amount in resources.requests.items()},
            }
        ),
        "securityContext": common.container_security(),
        "readinessProbe": common.http_probe("/readyz", ports.NAME_HTTP, period_seconds=2, failures=2),
        "livenessProbe": common.http_probe("/healthz", ports.NAME_HTTP, period_seconds=10, failures=3),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        **grace.pre_stop(time),
    }
