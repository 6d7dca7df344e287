"""PodDisruptionBudgets: a node that is drained takes one replica and one balancer at a time."""

from __future__ import annotations

from fastgen.contract import FastGenDeployment, labels
from fastgen_operator.desired.common import KubeObject, metadata


def budgets(deployment: FastGenDeployment) -> list[KubeObject]:
    names = {
        labels.COMPONENT_REPLICA: labels.replica_name(deployment.name),
        labels.COMPONENT_BALANCER: labels.balancer_name(deployment.name),
    }
    return [
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": metadata(deployment, component, name),
            "spec": {
                "maxUnavailable": 1,
                "unhealthyPodEvictionPolicy": "AlwaysAllow",
                "selector": {"matchLabels": labels.selector_labels(deployment.name, component)},
            },
        }
        for component, name in names.items()
    ]
