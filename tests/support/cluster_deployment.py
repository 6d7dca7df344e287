"""A FastGenDeployment in a cluster: its manifest, what its status says, its pods, and a client for its address."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import httpx
import openai
from cluster_namespace import Json, Namespace, until

from fastgen.contract import labels

MODELS_ON_NODES = "/var/lib/fastgen/models"
"""Where the nodes of the test cluster have examples/models."""
GUIDE = f"file://{MODELS_ON_NODES}/guide"
READY_SECONDS = 150.0
"""For everything that starts processes: the machine may have two cores and other work."""
GRACE_SECONDS = 40
"""Half a minute for running answers: on a busy machine a stream of some hundred tokens takes ten seconds and more."""
ONE_THREAD = [{"name": "OMP_NUM_THREADS", "value": "1"}]

SMALL: Json = {
    "model": {"source": GUIDE},
    "engine": {"device": "cpu", "dtype": "float32", "tokenBudget": 128, "linear": "plain", "kvBytes": "64Mi"},
    "balancer": {"replicas": 1},
    "podTemplate": {"terminationGracePeriodSeconds": GRACE_SECONDS, "env": ONE_THREAD},
}
"""The smallest deployment that really answers: the demonstration model, nothing measured at start."""


def manifest(name: str, **spec: Any) -> Json:
    """A small deployment; objects in `spec` are merged into SMALL's, one level deep."""
    merged = copy.deepcopy(SMALL)
    for field, value in spec.items():
        merged[field] = {**merged.get(field, {}), **value} if isinstance(value, dict) else value
    return {
        "apiVersion": labels.API_VERSION,
        "kind": labels.KIND,
        "metadata": {"name": name},
        "spec": merged,
    }


class Deployed:
    """One deployment in a namespace."""

    def __init__(self, namespace: Namespace, name: str) -> None:
        self.namespace = namespace
        self.name = name

    @property
    def live(self) -> Json:
        return self.namespace.get(labels.KIND, self.name)

    @property
    def status(self) -> Json:
        found: Json = self.live.get("status") or {}
        return found

    def condition(self, kind: str) -> Json:
        """A condition of the present generation; empty where the operator has not said it of this one yet."""
        live = self.live
        for found in (live.get("status") or {}).get("conditions") or ():
            if found["type"] == kind and found["observedGeneration"] == live["metadata"]["generation"]:
                return dict(found)
        return {}

    def wait_for(self, kind: str, status: str, *reasons: str, timeout_seconds: float = READY_SECONDS) -> Json:
        """The condition, once it has this status (and one of these reasons, where given) for the present generation."""

        def look() -> Json | None:
            found = self.condition(kind)
            return found if found.get("status") == status and (not reasons or found["reason"] in reasons) else None

        wanted = f"{self.name} is {kind}={status} {' or '.join(reasons)}"
        try:
            return until(look, wanted, timeout_seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {self.condition(kind)}") from None

    def wait_until_settled(self, replicas: int, timeout_seconds: float = READY_SECONDS) -> None:
        """Ready, with that many replicas of the present spec, and no other pod left, not even one that is leaving."""
        self.wait_for("Progressing", "False", "UpToDate", timeout_seconds=timeout_seconds)
        self.wait_for("ReplicasReady", "True", timeout_seconds=timeout_seconds)
        until(
            lambda: len(self.replica_pods(leaving=True)) == replicas == self.status["readyReplicas"],
            f"{self.name} has {replicas} replicas and no more",
            timeout_seconds,
        )

    def scale(self, replicas: int) -> None:
        """As a person does it."""
        self.namespace.kubectl("scale", f"fgd/{self.name}", f"--replicas={replicas}")

    def change(self, **spec: Any) -> None:
        """Fields of the spec, merged into what is there."""
        self.namespace.patch("fgd", self.name, {"spec": spec})

    def replica_pods(self, *, leaving: bool = False) -> list[Json]:
        return self._pods(labels.COMPONENT_REPLICA, leaving)

    def balancer_pods(self, *, leaving: bool = False) -> list[Json]:
        return self._pods(labels.COMPONENT_BALANCER, leaving)

    def _pods(self, component: str, leaving: bool) -> list[Json]:
        pods = self.namespace.all("Pod", labels.selector_labels(self.name, component))
        return [pod for pod in pods if leaving or "deletionTimestamp" not in pod["metadata"]]

    # -- asking it --------------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The address that clients within the cluster use."""
        return f"http://{self.name}.{self.namespace.name}"

    def openai(self, timeout_seconds: float = 120.0) -> openai.OpenAI:
        """The `openai` client, at the deployment's Service. It never tries again, so that what fails is seen."""
        through = openai.DefaultHttpxClient(proxy=self.namespace.cluster.proxy_url, trust_env=False)
        return openai.OpenAI(
            base_url=f"{self.url}/v1", api_key="none", http_client=through, max_retries=0, timeout=timeout_seconds
        )

    def http(self, timeout_seconds: float = 30.0) -> httpx.Client:
        """Plain HTTP to the Service."""
        proxy = self.namespace.cluster.proxy_url
        return httpx.Client(base_url=self.url, proxy=proxy, trust_env=False, timeout=timeout_seconds)

    def chat(self, question: str = "What is Dynamic SplitFuse?", timeout_seconds: float = 120.0) -> str:
        """One answer, whole."""
        with self.openai(timeout_seconds) as asking:
            answer = asking.chat.completions.create(
                model=self.name, messages=[{"role": "user", "content": question}], max_tokens=24, temperature=0
            )
        return answer.choices[0].message.content or ""


def deploy(namespace: Namespace, name: str, **spec: Any) -> Deployed:
    """Apply a small deployment, and do not wait."""
    namespace.apply(manifest(name, **spec))
    return Deployed(namespace, name)


def names(pods: Iterable[Json]) -> set[str]:
    return {pod["metadata"]["name"] for pod in pods}
