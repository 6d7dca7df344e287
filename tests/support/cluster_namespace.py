"""One namespace of a cluster, and what a person would do and see in it."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from kubernetes import client, config, dynamic
from kubernetes.dynamic.exceptions import NotFoundError

from fastgen.contract import labels
from fastgen_devcluster.cluster import DevCluster

Json = dict[str, Any]
T = TypeVar("T")
LOOK_SECONDS = 0.2
KINDS: Mapping[str, str] = {
    "FastGenDeployment": labels.API_VERSION,
    "Deployment": "apps/v1",
    "ReplicaSet": "apps/v1",
    "Role": "rbac.authorization.k8s.io/v1",
    "RoleBinding": "rbac.authorization.k8s.io/v1",
    "PodDisruptionBudget": "policy/v1",
    "Lease": "coordination.k8s.io/v1",
}
"""Where kinds outside of v1 are."""
MADE_BY_US = (
    "Deployment", "Service", "ServiceAccount", "Role", "RoleBinding", "PodDisruptionBudget", "PersistentVolumeClaim",
)  # fmt: skip
"""Kinds of the objects that the operator makes."""


class Namespace:
    """`read` is how a program looks: an API client. `kubectl` is how a person acts."""

    def __init__(self, cluster: DevCluster, name: str, api: dynamic.DynamicClient) -> None:
        self.cluster = cluster
        self.name = name
        self._api = api

    def kubectl(self, *args: str, input: str | None = None) -> str:
        """kubectl in this namespace."""
        return self.cluster.kubectl("--namespace", self.name, *args, input=input)

    def apply(self, manifest: Json) -> None:
        self.kubectl("apply", "--filename", "-", input=json.dumps(manifest))

    def patch(self, kind: str, name: str, change: Json) -> None:
        """A merge patch, as `kubectl edit` or a careless script would leave it."""
        self.kubectl("patch", kind, name, "--type=merge", "--patch", json.dumps(change))

    def json_patch(self, kind: str, name: str, changes: list[Json]) -> None:
        """A JSON patch: one place in a list, say."""
        self.kubectl("patch", kind, name, "--type=json", "--patch", json.dumps(changes))

    def find(self, kind: str, name: str) -> Json | None:
        """The live object; None where there is none."""
        try:
            found: Json = self._resource(kind).get(name=name, namespace=self.name).to_dict()
        except NotFoundError:
            return None
        return found

    def get(self, kind: str, name: str) -> Json:
        found = self.find(kind, name)
        assert found is not None, f"there is no {kind} {name} in {self.name}"
        return found

    def all(self, kind: str, selector: Mapping[str, str] | None = None) -> list[Json]:
        """The live objects of a kind."""
        chosen = labels.selector_text(dict(selector)) if selector else None
        items: list[Json] = self._resource(kind).get(namespace=self.name, label_selector=chosen).to_dict()["items"]
        return items

    def ours(self) -> list[str]:
        """Everything of the operator's making, as kind/name, pods and ReplicaSets included."""
        kinds = (*MADE_BY_US, "ReplicaSet", "Pod")
        return [
            f"{kind}/{item['metadata']['name']}"
            for kind in kinds
            for item in self.all(kind, {labels.MANAGED_BY: labels.FIELD_MANAGER})
        ]

    def everything(self) -> list[str]:
        """All objects of every kind, but what Kubernetes itself puts into a namespace, and events."""
        kinds = self.cluster.kubectl("api-resources", "--namespaced", "--verbs=list", "--output=name").split()
        chosen = ",".join(kind for kind in kinds if not kind.startswith("events"))
        found = self.kubectl("get", chosen, "--output=name", "--ignore-not-found").split()
        return [name for name in found if name not in ("configmap/kube-root-ca.crt", "serviceaccount/default")]

    def events(self, reason: str | None = None) -> list[Json]:
        """Events of this namespace, oldest first."""
        found = [item for item in self.all("Event") if reason in (None, item["reason"])]
        return sorted(found, key=lambda item: item["metadata"]["creationTimestamp"])

    def _resource(self, kind: str) -> Any:
        return self._api.resources.get(api_version=KINDS.get(kind, "v1"), kind=kind)


def until(look: Callable[[], T | None], what: str, timeout_seconds: float) -> T:
    """The first thing that `look` finds. Fails, and says what was waited for, when there is nothing in time.

    An API server that is away for a moment is looked at again.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        trouble = ""
        try:
            found = look()
        except (OSError, client.ApiException) as error:
            found, trouble = None, f" ({type(error).__name__}: {error})"
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_seconds:g} s: {what}{trouble}")
        time.sleep(LOOK_SECONDS)


@contextlib.contextmanager
def api_client(cluster: DevCluster) -> Iterator[dynamic.DynamicClient]:
    """A client that knows every kind; what it learnt about the server stays in the cluster's folder."""
    with config.new_client_from_config(str(cluster.kubeconfig)) as connection:  # type: ignore[no-untyped-call]
        yield dynamic.DynamicClient(  # type: ignore[no-untyped-call]
            connection, cache_file=str(cluster.folder / "test-discovery.json")
        )


@contextlib.contextmanager
def a_namespace(cluster: DevCluster, api: dynamic.DynamicClient, name: str) -> Iterator[Namespace]:
    """A namespace for as long as the `with` lasts. Its processes have ended when it ends."""
    cluster.kubectl("create", "namespace", name)
    namespace = Namespace(cluster, name, api)
    try:
        yield namespace
    finally:
        namespace.kubectl("delete", labels.PLURAL, "--all", "--ignore-not-found")
        namespace.kubectl("delete", "pods", "--all", "--grace-period=1", "--wait=false")
        until(lambda: not namespace.all("Pod"), f"the pods of {name} are gone", 60)
        cluster.kubectl("delete", "namespace", name, "--wait=false")
