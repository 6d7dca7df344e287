"""What a cluster looked like when a test failed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cluster_deployment import Deployed
from cluster_namespace import Namespace
from cluster_operator import SYSTEM

from fastgen_devcluster.cluster import DevCluster
from fastgen_devcluster.errors import DevClusterError

LOG_LINES = 25
OPERATOR_LOG_LINES = 60
WORTH_TELLING = "reason!=FailedToUpdateEndpoint,reason!=FailedToUpdateEndpointSlices"
"""Of the events: no EndpointSlice takes the loopback addresses that pods have here."""


def report_of(fixtures: Mapping[str, Any]) -> str:
    """Deployments, pods, events and logs of the test's namespaces, and the operator's."""
    parts = [_namespace(value) for value in fixtures.values() if isinstance(value, Namespace)]
    parts += [_namespace(value.namespace) for value in fixtures.values() if isinstance(value, Deployed)]
    if isinstance(cluster := fixtures.get("cluster"), DevCluster) and "api" in fixtures:
        system = Namespace(cluster, SYSTEM, fixtures["api"])
        parts += [_said(system, "get", "pods", "--output=wide"), _logs(system, OPERATOR_LOG_LINES)]
    return "\n".join(parts)


def _namespace(namespace: Namespace) -> str:
    words = (
        ("get", "fgd,deployments,pods", "--output=wide"),
        ("get", "fgd", "--output=jsonpath={range .items[*]}{.metadata.name}{'\\n'}{range .status.conditions[*]}"
         "  {.type}={.status} {.reason} (generation {.observedGeneration}): {.message}{'\\n'}{end}{end}"),
        ("get", "events", "--sort-by=.metadata.creationTimestamp", f"--field-selector={WORTH_TELLING}"),
    )  # fmt: skip
    return "\n".join([*(_said(namespace, *line) for line in words), _logs(namespace)])


def _said(namespace: Namespace, *words: str) -> str:
    try:
        return f"== kubectl {words[0]} {words[1]}\n{namespace.kubectl(*words)}"
    except DevClusterError as error:
        return str(error)


def _logs(namespace: Namespace, last_lines: int = LOG_LINES) -> str:
    """The end of each container's log, those of pods that are gone included where they were kept."""
    found = ""
    for pod in sorted(namespace.cluster.folder.rglob(f"{namespace.name}_*")):
        for log in sorted(pod.glob("*/*.log")):
            lines = log.read_text(errors="replace").splitlines()[-last_lines:]
            found += f"== the end of {log.relative_to(pod.parent)}\n" + "\n".join(lines) + "\n"
    return found
