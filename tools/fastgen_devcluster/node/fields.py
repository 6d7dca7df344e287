"""What a pod may ask about itself: `fieldRef` and `resourceFieldRef`, in environment and downward API volumes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal
from typing import Any, NamedTuple

from fastgen.contract.quantities import parse_quantity
from fastgen_devcluster.errors import DevClusterError
from fastgen_devcluster.node.api import KubeObject


class FieldError(DevClusterError):
    """A field that nobody can tell."""


class Addresses(NamedTuple):
    pod_ip: str
    host_ip: str


def field_value(pod: KubeObject, path: str, addresses: Addresses) -> str:
    """What `fieldRef: {fieldPath: path}` is for this pod. Raises FieldError."""
    metadata, spec = pod["metadata"], pod["spec"]
    plain = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata["namespace"],
        "metadata.uid": metadata["uid"],
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", "default"),
        "status.podIP": addresses.pod_ip,
        "status.podIPs": addresses.pod_ip,
        "status.hostIP": addresses.host_ip,
        "status.hostIPs": addresses.host_ip,
    }
    if path in plain:
        return str(plain[path])
    if path in ("metadata.labels", "metadata.annotations"):
        entries = metadata.get(path.removeprefix("metadata."), {})
        return "\n".join(f"{key}={json.dumps(value)}" for key, value in sorted(entries.items()))
    if subscript := re.fullmatch(r"metadata\.(labels|annotations)\['([^']+)'\]", path):
        return str(metadata.get(subscript[1], {}).get(subscript[2], ""))
    raise FieldError(
        f"fieldPath {path}: this node does not know it; it knows {', '.join(plain)}, labels and annotations"
    )


def resource_value(
    container: Mapping[str, Any], reference: Mapping[str, str], allocatable: Mapping[str, str | int]
) -> str:
    """What a `resourceFieldRef` is: in units of its divisor, rounded up; a limit not set is what the node has."""
    kind, _, name = reference["resource"].partition(".")
    if kind not in ("limits", "requests") or not name:
        raise FieldError(f"resourceFieldRef {reference['resource']}: expected limits.NAME or requests.NAME")
    asked = container.get("resources", {}).get(kind, {})
    amount = asked.get(name, allocatable.get(name, "0") if kind == "limits" else "0")
    divisor = parse_quantity(reference.get("divisor") or "1")
    return str((parse_quantity(amount) / (divisor or Decimal(1))).to_integral_value(ROUND_CEILING))
