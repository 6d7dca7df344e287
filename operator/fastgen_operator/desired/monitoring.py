"""A ServiceMonitor, for clusters whose Prometheus is run by the Prometheus operator."""

from __future__ import annotations

from fastgen.contract import FastGenDeployment, labels, ports
from fastgen_operator.desired.common import KubeObject, metadata

INTERVAL = "15s"


def service_monitor(deployment: FastGenDeployment) -> list[KubeObject]:
    """Both Services of the deployment. The pods' label becomes the series' label that the autoscaler looks for."""
    return [
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "ServiceMonitor",
            "metadata": metadata(deployment, labels.COMPONENT_BALANCER, deployment.name),
            "spec": {
                "selector": {"matchLabels": {labels.DEPLOYMENT: deployment.name}},
                "podTargetLabels": [labels.DEPLOYMENT],
                "endpoints": [{"port": ports.NAME_HTTP, "path": "/metrics", "interval": INTERVAL}],
            },
        }
    ]
