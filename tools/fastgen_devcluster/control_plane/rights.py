"""What those components may do that Kubernetes has no role for. RBAC is on for them as for everyone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastgen_devcluster.api import Api
from fastgen_devcluster.control_plane.credentials import PROMETHEUS_USER, PROXY_USER

GROUP = "rbac.authorization.k8s.io"
READ = ("get", "list", "watch")
RULES: Mapping[str, Sequence[Mapping[str, Any]]] = {
    PROMETHEUS_USER: (
        {"apiGroups": [""], "resources": ["pods", "services", "endpoints"], "verbs": READ},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": READ},
    ),
    PROXY_USER: ({"apiGroups": [""], "resources": ["pods", "services"], "verbs": READ},),
}


def grant(api: Api) -> None:
    """Give every user of RULES its rights, cluster-wide. Raises ApiError, OSError."""
    for user, rules in RULES.items():
        name = {"apiVersion": f"{GROUP}/v1", "metadata": {"name": user}}
        role = {**name, "kind": "ClusterRole", "rules": rules}
        binding = {
            **name,
            "kind": "ClusterRoleBinding",
            "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": user},
            "subjects": [{"apiGroup": GROUP, "kind": "User", "name": user}],
        }
        api.apply(f"/apis/{GROUP}/v1/clusterroles/{user}", role)
        api.apply(f"/apis/{GROUP}/v1/clusterrolebindings/{user}", binding)
