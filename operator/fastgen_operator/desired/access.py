"""What the balancer may do: see the pods of its namespace, and nothing else."""

from __future__ import annotations

from fastgen.contract import FastGenDeployment, labels
from fastgen_operator.desired.common import KubeObject, metadata, namespace_of


def balancer_access(deployment: FastGenDeployment) -> list[KubeObject]:
    """ServiceAccount, Role and RoleBinding, all of one name."""
    name = labels.balancer_name(deployment.name)
    own = metadata(deployment, labels.COMPONENT_BALANCER, name)
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": own},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": own,
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": own,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace_of(deployment)}],
        },
    ]
