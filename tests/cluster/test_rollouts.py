"""A new spec rolls out without failing a request; a bad one leaves what serves alone, and says so."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from cluster_deployment import GUIDE, MODELS_ON_NODES, Deployed, deploy, names
from cluster_load import load
from cluster_namespace import Json, Namespace, until

from fastgen.contract import labels

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def rolling(module_namespace: Namespace) -> Iterator[Deployed]:
    deployed = deploy(module_namespace, "rolling", replicas=1)
    deployed.wait_until_settled(1)
    return deployed


class ReadyWatcher:
    """Looks again and again whether Ready is true while something of an older spec serves."""

    def __init__(self, deployed: Deployed) -> None:
        self.num_looks = 0
        self.lies: list[str] = []
        self._deployed = deployed
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> ReadyWatcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(0.1):
            self._look()

    def _look(self) -> None:
        """First what it says, then what is there: what is old only becomes less."""
        if self._deployed.condition("Ready").get("status") != "True":
            return
        self.num_looks += 1
        for component in ("replica", "balancer"):
            child = self._deployed.namespace.get("Deployment", f"{self._deployed.name}-{component}")
            made_from = child["metadata"]["annotations"][labels.SPEC_HASH]
            pods = self._deployed.replica_pods() if component == "replica" else self._deployed.balancer_pods()
            self.lies += [
                pod["metadata"]["name"] for pod in pods if pod["metadata"]["annotations"][labels.SPEC_HASH] != made_from
            ]


@pytest.mark.parametrize(
    ("component", "change"),
    [
        ("replica", {"engine": {"maxSequences": 32}}),
        ("balancer", {"balancer": {"policy": "RoundRobin"}}),
    ],
)
def test_a_new_spec_rolls_out_without_failing_a_request_in_flight(
    rolling: Deployed, component: str, change: Json
) -> None:
    """Streams are long enough for one to be open on what is taken away."""

    def pods() -> set[str]:
        return names(rolling.replica_pods() if component == "replica" else rolling.balancer_pods())

    before = pods()
    with ReadyWatcher(rolling) as watcher, load(rolling, clients=2, streams=2) as running:
        until(lambda: running.outcomes, "requests are answered", 60)
        rolling.change(**change)
        until(lambda: not before & pods(), "what was there is leaving", 120)
        left_seconds = running.now()
        rolling.wait_until_settled(1)
        settled_seconds = running.now()
        until(lambda: running.answered_since(settled_seconds) > 3, "requests are answered afterwards", 60)
    assert running.failures == []
    assert not before & pods()
    assert any(one.is_stream and one.began_seconds < left_seconds < one.ended_seconds for one in running.outcomes)
    assert watcher.num_looks > 0
    assert watcher.lies == []


BAD: list[tuple[str, Json, str, str, str]] = [
    ("an image that is nowhere", {"podTemplate": {"image": "example.org/nobody:1"}},
     "ModelReady", "ImageUnavailable", "example.org/nobody:1"),
    ("a folder without a model", {"model": {"source": f"file://{MODELS_ON_NODES}"}},
     "ModelReady", "LoadFailed", "config.json"),
    ("too little memory", {"resources": {"limits": {"memory": "100Mi"}}},
     "ModelReady", "LoadFailed", "want of memory"),
    ("more GPUs than any node has", {"resources": {"limits": {"nvidia.com/gpu": 9}}},
     "ReplicasReady", "Unschedulable", "nvidia.com/gpu"),
    ("a Secret that does not exist", {"podTemplate": {"env": [
        {"name": "A", "valueFrom": {"secretKeyRef": {"name": "nothing", "key": "a"}}}]}},
     "ModelReady", "Misconfigured", "nothing"),
    ("a source that is not fetched", {"model": {"source": "s3://bucket/llama"}},
     "Ready", "ModelSourceUnsupported", "pvc://"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "kind", "reason", "words"), [bad[1:] for bad in BAD], ids=[bad[0] for bad in BAD])
def test_a_bad_rollout_keeps_what_serves_and_says_what_is_wrong(
    rolling: Deployed, change: Json, kind: str, reason: str, words: str
) -> None:
    good = rolling.live["spec"]
    before = names(rolling.replica_pods())
    rolling.change(**change)
    said = rolling.wait_for(kind, "False", reason, timeout_seconds=60)
    assert words in said["message"]
    assert rolling.condition("Ready")["status"] == "False"
    assert rolling.chat()
    assert before <= names(rolling.replica_pods())

    rolling.namespace.json_patch("fgd", "rolling", [{"op": "replace", "path": "/spec", "value": good}])
    rolling.wait_until_settled(1)
    assert names(rolling.replica_pods()) == before
    assert rolling.condition("Ready")["reason"] == "Serving"


def test_a_relative_path_is_for_one_machine_and_says_so(namespace: Namespace) -> None:
    deployed = deploy(namespace, "here", model={"source": "file://./models/guide"})
    said = deployed.wait_for("Ready", "False", "ModelSourceUnsupported", timeout_seconds=20)
    assert "file:///FOLDER on the node" in said["message"]
    assert namespace.ours() == []
    deployed.change(model={"source": GUIDE}, suspend=True)
    deployed.wait_for("Ready", "False", "Suspended", timeout_seconds=20)
    assert "Deployment/here-replica" in namespace.ours()


def test_suspended_it_runs_nothing_and_comes_back(rolling: Deployed) -> None:
    rolling.change(suspend=True)
    rolling.wait_for("Ready", "False", "Suspended")
    until(lambda: not (rolling.replica_pods(leaving=True) or rolling.balancer_pods(leaving=True)), "nothing runs", 60)
    assert rolling.live["spec"]["replicas"] == 1
    rolling.change(suspend=False)
    rolling.wait_for("Ready", "True", "Serving")
    assert rolling.chat()
