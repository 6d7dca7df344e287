"""Services: one that clients use, in front of the balancers; one without an address, for the replicas' names."""

from __future__ import annotations

from fastgen.contract import FastGenDeployment, labels, ports
from fastgen_operator.desired.common import KubeObject, metadata
from fastgen_operator.desired.merging import without_empty

PLAIN_GRPC = "kubernetes.io/h2c"


def replicas(deployment: FastGenDeployment) -> KubeObject:
    """A headless Service: monitoring and people reach single replicas by it; the balancer watches pods instead."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(deployment, labels.COMPONENT_REPLICA, labels.replica_name(deployment.name)),
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "None",
            "selector": labels.selector_labels(deployment.name, labels.COMPONENT_REPLICA),
            "ports": _ports(ports.REPLICA_HTTP, ports.REPLICA_GRPC),
        },
    }


def balancer(deployment: FastGenDeployment) -> KubeObject:
    """The address of the model: a Service named as the deployment."""
    asked = deployment.spec.balancer.service
    own = metadata(deployment, labels.COMPONENT_BALANCER, deployment.name)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": without_empty({**own, "annotations": asked.annotations}),
        "spec": {
            "type": asked.type,
            "selector": labels.selector_labels(deployment.name, labels.COMPONENT_BALANCER),
            "ports": _ports(asked.port, asked.grpc_port),
        },
    }


def _ports(http: int, grpc: int) -> list[KubeObject]:
    return [
        {"name": ports.NAME_HTTP, "port": http, "targetPort": ports.NAME_HTTP, "protocol": "TCP"},
        {
            "name": ports.NAME_GRPC,
            "port": grpc,
            "targetPort": ports.NAME_GRPC,
            "protocol": "TCP",
            "appProtocol": PLAIN_GRPC,
        },
    ]
