"""What is killed comes back, and takes nothing with it that was accepted."""

from __future__ import annotations

from collections.abc import Iterator

import cluster_processes
import pytest
from cluster_audit import Audit
from cluster_deployment import Deployed, deploy, names
from cluster_load import Stream, load
from cluster_namespace import MADE_BY_US, Json, Namespace, until
from cluster_operator import ACCOUNT, Operator

from fastgen.contract import labels
from fastgen_devcluster.cluster import DevCluster

pytestmark = pytest.mark.cluster
LONG_ANSWER_TOKENS = 800
NUM_INTERRUPTED = 12
TAKEN_OVER_SECONDS = 60.0


@pytest.fixture(scope="module")
def pair(module_namespace: Namespace) -> Iterator[Deployed]:
    """Two replicas behind one balancer."""
    deployed = deploy(module_namespace, "pair", replicas=2)
    deployed.wait_until_settled(2)
    return deployed


def restarts(pod: Json) -> int:
    return sum(container["restartCount"] for container in pod["status"].get("containerStatuses", ()))


# -- replicas -------------------------------------------------------------------------------------------------------


def test_a_killed_replica_loses_no_request_that_is_not_streamed_and_a_cut_stream_says_so(pair: Deployed) -> None:
    victim = pair.replica_pods()[0]
    streams = [Stream(pair, LONG_ANSWER_TOKENS) for _ in range(2)]
    until(lambda: all(stream.has_begun for stream in streams), "both streams run, one on each replica", 30)
    with load(pair, clients=3) as running:
        until(lambda: len(running.outcomes) > 3, "requests are answered", 30)
        cluster_processes.kill(victim)
        killed_seconds = running.now()
        for stream in streams:
            stream.end()
        until(lambda: running.answered_since(killed_seconds) > 5, "requests are answered after the kill", 60)
        assert pair.condition("Ready")["status"] == "True"
        pair.wait_until_settled(2)
    assert running.failures == []
    cut, whole = sorted(streams, key=lambda stream: stream.is_whole)
    assert whole.is_whole, whole.error
    assert cut.error, f"{cut.usage_tokens} tokens, and no word that it was cut"
    assert restarts(pair.namespace.get("Pod", victim["metadata"]["name"])) == 1


# -- the API server -------------------------------------------------------------------------------------------------


def test_while_the_api_server_restarts_requests_are_answered_and_afterwards_changes_are_acted_on(
    pair: Deployed, operator: Operator
) -> None:
    before = names(pair.replica_pods()) | names(pair.balancer_pods())
    cluster = pair.namespace.cluster
    with load(pair, clients=2) as running:
        until(lambda: running.outcomes, "requests are answered", 30)
        cluster.stop_component("kube-apiserver")
        stopped_seconds = running.now()
        until(lambda: running.answered_since(stopped_seconds) > 5, "requests are answered without an API server", 30)
        cluster.start_component("kube-apiserver")
        operator.wait_until_acting()
        pair.namespace.kubectl("delete", "service", "pair-replica")
        until(lambda: pair.namespace.find("Service", "pair-replica"), "a deleted Service is put back", 30)
        pair.wait_until_settled(2)
    assert running.failures == []
    assert names(pair.replica_pods()) | names(pair.balancer_pods()) == before


# -- the operator ---------------------------------------------------------------------------------------------------


def children(namespace: Namespace, name: str) -> dict[str, Json]:
    """Everything made for a deployment but its pods, under names in which its own is replaced."""
    found = {}
    for kind in MADE_BY_US:
        for child in namespace.all(kind, {labels.DEPLOYMENT: name}):
            shown = f"{kind}/{child['metadata']['name'].replace(name, 'NAME', 1)}"
            kept = {key: value for key, value in child.items() if key not in ("metadata", "status")}
            own = {key: child["metadata"].get(key) for key in ("labels", "annotations", "finalizers")}
            found[shown] = {**kept, "metadata": own}
    return found


def anonymous(value: Json, name: str) -> Json:
    """Without what differs between two deployments that are otherwise alike."""
    if isinstance(value, dict):
        dropped = {labels.SPEC_HASH, "clusterIP", "clusterIPs", "deployment.kubernetes.io/revision"}
        return {key: anonymous(inner, name) for key, inner in value.items() if key not in dropped}
    if isinstance(value, list):
        return [anonymous(inner, name) for inner in value]  # type: ignore[return-value]
    return value.replace(name, "NAME") if isinstance(value, str) else value  # type: ignore[return-value]


def test_an_operator_killed_in_the_middle_of_its_work_ends_in_the_same_state(
    namespace: Namespace, operator: Operator
) -> None:
    """The deployments are suspended: all of their objects, and no pods."""
    deploy(namespace, "calm", suspend=True).wait_for("Ready", "False", "Suspended", timeout_seconds=30)
    interrupted = [f"cut-{number}" for number in range(NUM_INTERRUPTED)]
    whole = anonymous(children(namespace, "calm"), "calm")
    for name in interrupted:
        deploy(namespace, name, suspend=True)
    until(lambda: children(namespace, interrupted[-4]), "it is about to be done", 30)
    operator.kill()
    done = [name for name in interrupted if len(children(namespace, name)) == len(whole)]
    assert len(done) < NUM_INTERRUPTED, "it was too fast to be interrupted"

    for name in interrupted:
        Deployed(namespace, name).wait_for("Ready", "False", "Suspended", timeout_seconds=TAKEN_OVER_SECONDS)
        assert anonymous(children(namespace, name), name) == whole


def test_of_two_operators_one_acts_and_one_that_hung_and_wakes_does_not_act_again(
    namespace: Namespace, operator: Operator
) -> None:
    audit = Audit(namespace.cluster)
    first = operator.wait_until_acting()
    operator.scale(2)
    try:
        assert operator.wait_until_acting(replicas=2)["metadata"]["name"] == first["metadata"]["name"]
        suspended(namespace, "before")
        assert actors(audit) == {first["metadata"]["name"]}

        with operator.hung(first):
            suspended(namespace, "meanwhile")
            second = operator.wait_until_acting(replicas=2)["metadata"]["name"]
            assert second != first["metadata"]["name"]
            audit.forget()
        suspended(namespace, "after")
        until(lambda: restarts(operator.pods_by_name()[first["metadata"]["name"]]), "the first begins anew", 30)
        suspended(namespace, "at-last")
        assert actors(audit) == {second}
    finally:
        operator.scale(1)
        operator.wait_until_acting()


def suspended(namespace: Namespace, name: str) -> None:
    """Something to act on that costs nothing."""
    deploy(namespace, name, suspend=True).wait_for("Ready", "False", "Suspended", timeout_seconds=TAKEN_OVER_SECONDS)


def actors(audit: Audit) -> set[str]:
    """Which of the operator's pods wrote anything."""
    return {write.pod for write in audit.writes(ACCOUNT)}


# -- deleting -------------------------------------------------------------------------------------------------------


def test_deleting_cleans_all_while_the_operator_is_dead(
    cluster: DevCluster, pair: Deployed, operator: Operator
) -> None:
    namespace = pair.namespace
    deploy(namespace, "cached", model={"source": "hf://a/b", "cache": {"size": "1Gi"}}, suspend=True)
    until(lambda: "PersistentVolumeClaim/cached-model-cache" in namespace.ours(), "the cache is asked for", 30)
    operator.scale(0)
    try:
        until(lambda: not operator.pods(), "no operator is left", 60)
        namespace.kubectl("delete", "fgd", "--all", "--timeout=20s")
        until(lambda: not namespace.ours(), "everything that was made is gone", 60)
        assert namespace.everything() == []
    finally:
        operator.scale(1)
        operator.wait_until_acting()
