"""The operator of the test cluster, installed by its chart: where it runs, who acts, and how to hurt it."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from cluster_namespace import Json, Namespace, until
from cluster_processes import processes_of
from kubernetes.dynamic import DynamicClient

from fastgen_devcluster.cluster import DevCluster

ROOT = Path(__file__).parents[2]
RELEASE = "fastgen-operator"
SYSTEM = "fastgen-system"
ACCOUNT = f"{SYSTEM}:{RELEASE}"
"""The ServiceAccount it acts by."""
VALUES = ("scalingIntervalSeconds=2", "log.format=text")
"""What tests have no patience for, and what people read."""
START_SECONDS = 90.0
SELECTOR = {"app.kubernetes.io/name": "fastgen-operator"}


class Operator:
    """The operator's Deployment and its Lease."""

    def __init__(self, namespace: Namespace) -> None:
        self.namespace = namespace

    def pods(self) -> list[Json]:
        """The operator's pods that are not leaving."""
        pods = self.namespace.all("Pod", SELECTOR)
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    @property
    def holder(self) -> str | None:
        """Who holds the Lease, as it names itself."""
        lease = self.namespace.find("Lease", RELEASE)
        found: str | None = (lease or {}).get("spec", {}).get("holderIdentity")
        return found

    def holding_pod(self) -> Json | None:
        """The pod that acts."""
        holder = self.holder or ""
        return next((pod for pod in self.pods() if pod["metadata"]["name"] in holder), None)

    def wait_until_acting(self, replicas: int = 1) -> Json:
        """The pod that acts, once as many pods run as there should, and no more."""

        def look() -> Json | None:
            everyone = self.namespace.all("Pod", SELECTOR)
            running = [pod for pod in everyone if pod["status"].get("phase") == "Running"]
            return self.holding_pod() if len(everyone) == len(running) == replicas else None

        return until(look, f"{replicas} operators run and one of them holds the Lease", START_SECONDS)

    def kill(self) -> None:
        """SIGKILL, to the one that acts: no time to say good-bye."""
        pod = self.wait_until_acting(len(self.pods()))
        for pid in processes_of(pod):
            os.kill(pid, signal.SIGKILL)

    @contextlib.contextmanager
    def hung(self, pod: Json) -> Iterator[None]:
        """A pod that does nothing for a while, as on a node that swaps, and then goes on where it was."""
        pids = processes_of(pod)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def pods_by_name(self) -> dict[str, Json]:
        return {pod["metadata"]["name"]: pod for pod in self.pods()}

    def scale(self, replicas: int) -> None:
        self.namespace.kubectl("scale", f"deployment/{RELEASE}", f"--replicas={replicas}")


@contextlib.contextmanager
def installed(cluster: DevCluster, api: DynamicClient) -> Iterator[Operator]:
    """`helm install`, until the operator acts, where only "restricted" pods may run. It goes with the cluster."""
    cluster.kubectl("create", "namespace", SYSTEM)
    cluster.kubectl("label", "namespace", SYSTEM, "pod-security.kubernetes.io/enforce=restricted")
    chart = str(ROOT / "charts" / "fastgen-operator")
    values = [word for value in VALUES for word in ("--set", value)]
    cluster.helm("install", RELEASE, chart, "--namespace", SYSTEM, *values)
    operator = Operator(Namespace(cluster, SYSTEM, api))
    operator.wait_until_acting()
    yield operator
