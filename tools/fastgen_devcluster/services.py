"""What a Service name means: the pods behind it. Pure; used by the proxy and by `devcluster address`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from fastgen_devcluster.errors import DevClusterError

CLUSTER_DOMAIN = ("svc", "cluster", "local")

Manifest = Mapping[str, Any]


class NoAddressError(DevClusterError):
    """There is nobody to pass a request to; the message says what was looked at."""


class ServiceKey(NamedTuple):
    """Which Service."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class Address(NamedTuple):
    """Where a pod listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def parse_name(host: str) -> ServiceKey | None:
    """`llama.default`, also with .svc or .svc.cluster.local behind; None where it is no Service's name."""
    name, *rest = host.rstrip(".").lower().split(".")
    if not rest or not name or not rest[0] or tuple(rest[1:]) not in ((), CLUSTER_DOMAIN[:1], CLUSTER_DOMAIN):
        return None
    return ServiceKey(rest[0], name)


def ready_addresses(service: Manifest, pods: Iterable[Manifest], port: int | str | None) -> Sequence[Address]:
    """Where the ready pods of `service` listen, for a client that asks for `port`: its number, its name, or the first.

    Raises NoAddressError with what stands in the way. `pods` are those of the Service's namespace.
    """
    key = ServiceKey(service["metadata"]["namespace"], service["metadata"]["name"])
    spec = service["spec"]
    if spec.get("type") == "ExternalName" or not spec.get("selector"):
        raise NoAddressError(f"Service {key} has no selector, so no pods of its own")
    selected = [pod for pod in pods if _matches(pod, spec["selector"])]
    ready = [pod for pod in selected if _is_ready(pod) or spec.get("publishNotReadyAddresses")]
    addresses = [
        Address(pod["status"]["podIP"], number)
        for pod in ready
        if pod["status"].get("podIP") and (number := _pod_port(key, spec, pod, port)) is not None
    ]
    if not addresses:
        wanted = ",".join(f"{label}={value}" for label, value in spec["selector"].items())
        found = ", ".join(_describe(pod) for pod in selected) or "there is no such pod"
        raise NoAddressError(f"no ready pod behind Service {key} ({wanted}): {found}")
    return addresses


def _matches(pod: Manifest, selector: Mapping[str, str]) -> bool:
    labels = pod["metadata"].get("labels") or {}
    return all(labels.get(label) == value for label, value in selector.items())


def _is_ready(pod: Manifest) -> bool:
    return "deletionTimestamp" not in pod["metadata"] and _ready_condition(pod).get("status") == "True"


def _ready_condition(pod: Manifest) -> Manifest:
    conditions: Sequence[Manifest] = pod.get("status", {}).get("conditions") or ()
    return next((condition for condition in conditions if condition["type"] == "Ready"), {})


def _describe(pod: Manifest) -> str:
    name = pod["metadata"]["name"]
    if "deletionTimestamp" in pod["metadata"]:
        return f"{name} is terminating"
    condition = _ready_condition(pod)
    reason = condition.get("reason") or pod.get("status", {}).get("phase", "not started")
    return f"{name} is ready" if condition.get("status") == "True" else f"{name} is not ready ({reason})"


def _pod_port(key: ServiceKey, spec: Manifest, pod: Manifest, port: int | str | None) -> int | None:
    """The pod's port for the Service's; None where this pod has no port of that name."""
    if spec.get("clusterIP") == "None" and isinstance(
        port, int
    ):  # headless: names lead to pods, nobody translates ports
        return port
    ports: Sequence[Manifest] = spec.get("ports") or ()
    chosen = next((candidate for candidate in ports if port in (None, candidate["port"], candidate.get("name"))), None)
    if chosen is None:
        known = ", ".join(str(candidate["port"]) for candidate in ports) or "none"
        raise NoAddressError(f"Service {key} has no port {port}; it has: {known}")
    target = chosen.get("targetPort") or chosen["port"]
    if isinstance(target, int):
        return target
    containers = [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]
    named = (p["containerPort"] for c in containers for p in c.get("ports") or () if p.get("name") == target)
    return next(named, None)
