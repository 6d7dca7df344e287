"""Fifty deployments at once on nodes that kwok plays: what they cost the API server, from the first to the last.

`pytest tests/cluster/test_scale.py -s` shows the counts; benchmarks/results/*-operator-scale.md keeps some.
"""

import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

import pytest
from cluster_calls import Call, Calls, table
from cluster_namespace import Json, Namespace, a_namespace, api_client, until
from kubernetes.dynamic import DynamicClient
from played_cluster import USER, OperatorProcess, played_cluster

from fastgen.contract import labels
from fastgen_devcluster import kwok
from fastgen_devcluster.cluster import DevCluster

pytestmark = pytest.mark.cluster

DEPLOYMENTS = 50
REPLICAS = 2
NODES = 20
AUTOSCALED_EVERY = 5
"""Each fifth has an autoscaler whose Prometheus is not there: it holds, and says so."""
NO_PROMETHEUS = "http://127.0.0.1:9"
RESYNC_SECONDS = 5
QUIET_SECONDS = 16.0
READY_SECONDS = 240.0
SETTLE_SECONDS = 4.0
"""No call for so long means that the operator has said all it had to say."""

OBJECTS = 9
"""What the operator makes of such a deployment: two each of Deployments, Services and PodDisruptionBudgets, and the
balancer's ServiceAccount, Role and RoleBinding."""
CALLS_EACH = 40
"""The most a deployment may cost from apply to Ready. Each object: a look whether somebody else has that name, and an
apply. The rest is status and events, as pods come up one after another: fewer or more, as the machine is."""


def deployment(name: str, **spec: object) -> Json:
    return {
        "apiVersion": labels.API_VERSION,
        "kind": labels.KIND,
        "metadata": {"name": name},
        "spec": {
            "model": {"source": "file:///models/guide"},
            "replicas": REPLICAS,
            "balancer": {"replicas": 1},
            "resources": {"limits": {"nvidia.com/gpu": 1}},
            **spec,
        },
    }


class Fifty(NamedTuple):
    """They were applied at once, and all are Ready."""

    namespace: Namespace
    calls: Calls
    """The operator's, since then."""
    seconds: float
    """From apply to the last one's Ready."""
    cost: Counter[Call]
    own_count: dict[str, int]
    """What the operator's own metrics say it wrote, by resource."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[DevCluster]:
    with played_cluster(NODES) as found:
        yield found


@pytest.fixture(scope="module")
def api(cluster: DevCluster) -> Iterator[DynamicClient]:
    with api_client(cluster) as found:
        yield found


@pytest.fixture(scope="module")
def operator(cluster: DevCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    process = OperatorProcess(cluster, tmp_path_factory.mktemp("operator"), f"--resync-seconds={RESYNC_SECONDS}")
    process.start()
    until(process.is_ready, "the operator acts", 60)
    yield process
    process.stop()


@pytest.fixture(scope="module")
def fifty(cluster: DevCluster, api: DynamicClient, operator: OperatorProcess) -> Iterator[Fifty]:
    calls = Calls(cluster, USER)
    with a_namespace(cluster, api, "fifty") as namespace:
        before = own_count(operator)
        began = time.monotonic()
        namespace.apply({"apiVersion": "v1", "kind": "List", "items": [one(number) for number in range(DEPLOYMENTS)]})
        until(lambda: len(ready(namespace)) == DEPLOYMENTS, "all are Ready", READY_SECONDS)
        seconds = time.monotonic() - began
        wait_until_quiet(calls)
        cost = calls.counted()
        counted = {resource: count - before.get(resource, 0) for resource, count in own_count(operator).items()}
        calls.forget()
        yield Fifty(namespace, calls, seconds, cost, {resource: count for resource, count in counted.items() if count})


def own_count(operator: OperatorProcess) -> dict[str, int]:
    """What the operator says it wrote, by resource; its Lease is left out."""
    counts: Counter[str] = Counter()
    for labels_of, value in operator.samples("fastgen_operator_api_requests_total"):
        if labels_of["verb"] in ("apply", "create") and labels_of["resource"] != "leases":
            counts[labels_of["resource"]] += int(value)
    return counts


def one(number: int) -> Json:
    autoscaled = {"autoscaling": {"maxReplicas": 4, "minReplicas": REPLICAS, "prometheus": {"url": NO_PROMETHEUS}}}
    return deployment(f"model-{number}", **(autoscaled if number % AUTOSCALED_EVERY == 0 else {}))


def ready(namespace: Namespace) -> list[str]:
    """Names of those that are Ready as their manifest now is."""
    return [
        item["metadata"]["name"]
        for item in namespace.all(labels.KIND)
        for condition in (item.get("status") or {}).get("conditions", ())
        if condition["type"] == "Ready"
        and condition["status"] == "True"
        and condition["observedGeneration"] == item["metadata"]["generation"]
    ]


def wait_until_quiet(calls: Calls) -> None:
    """Until the operator has not written for a while."""
    count, since = calls.writes().total(), time.monotonic()

    def is_quiet() -> bool:
        nonlocal count, since
        now = calls.writes().total()
        if now != count:
            count, since = now, time.monotonic()
        return time.monotonic() - since >= SETTLE_SECONDS

    until(is_quiet, "the operator writes nothing for a while", READY_SECONDS)


def blind(namespace: Namespace) -> set[str]:
    """Deployments whose autoscaler has told that it sees nothing, which it does once, after a minute of it."""
    return {event["involvedObject"]["name"] for event in namespace.events("PrometheusUnavailable")}


def pods(namespace: Namespace) -> set[str]:
    return {pod["metadata"]["uid"] for pod in namespace.all("Pod")}


def test_a_played_pod_is_ready_when_its_annotation_says(cluster: DevCluster, api: DynamicClient) -> None:
    with a_namespace(cluster, api, "slow") as namespace:
        containers = [{"name": "engine", "image": "fastgen/serving"}]
        metadata = {"name": "slow", "annotations": {kwok.START_AFTER: "3s"}}
        namespace.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": containers}})

        def conditions() -> dict[str, datetime]:
            status = namespace.get("Pod", "slow")["status"]
            return {
                condition["type"]: datetime.fromisoformat(condition["lastTransitionTime"])
                for condition in status.get("conditions", ())
                if condition["status"] == "True"
            }

        until(lambda: "Ready" in conditions(), "the pod is Ready", 30)
        found = conditions()
        assert (found["Ready"] - found["PodScheduled"]).total_seconds() >= 2  # they are told in whole seconds


def test_fifty_at_once_become_ready_each_at_a_bounded_price(fifty: Fifty, operator: OperatorProcess) -> None:
    print(f"\n{DEPLOYMENTS} deployments, {len(pods(fifty.namespace))} pods: all Ready after {fifty.seconds:.1f} s")
    print(table(fifty.cost, DEPLOYMENTS))
    print(f"operator: {operator.cpu_seconds():.1f} s of CPU, {operator.resident_bytes() / 1e6:.0f} MB")
    applies = sum(count for call, count in fifty.cost.items() if call.verb == "patch" and "/" not in call.resource)
    assert applies == OBJECTS * DEPLOYMENTS, "each object is applied once"
    assert fifty.cost.total() <= CALLS_EACH * DEPLOYMENTS


def test_the_operator_counts_what_it_writes_as_the_api_server_does(fifty: Fifty) -> None:
    assert fifty.own_count == {
        resource: count for (verb, resource), count in fifty.cost.items() if verb in ("patch", "create")
    }


def test_a_change_costs_what_it_changes(fifty: Fifty) -> None:
    fifty.calls.forget()
    fifty.namespace.kubectl("scale", "fgd/model-7", f"--replicas={REPLICAS + 1}")
    until(lambda: fifty.namespace.get(labels.KIND, "model-7")["status"]["readyReplicas"] == REPLICAS + 1, "3 ready", 60)
    wait_until_quiet(fifty.calls)
    writes = fifty.calls.writes()
    print(f"\n{table(writes, 1)}")
    assert writes[Call("patch", "deployments")] == 1
    assert writes.total() <= 10
    assert {call.resource for call in writes} <= {"deployments", "fastgendeployments/status", "events"}


def test_pods_that_never_start_cost_no_writes_once_that_is_said(fifty: Fifty) -> None:
    before = pods(fifty.namespace)
    template = {"annotations": {kwok.FAILS: "CrashLoopBackOff"}}
    fifty.namespace.patch("fgd", "model-8", {"spec": {"podTemplate": template}})

    def says_so() -> bool:
        conditions = fifty.namespace.get(labels.KIND, "model-8")["status"]["conditions"]
        return any("ended with 1 (3 restarts)" in condition["message"] for condition in conditions)

    until(says_so, "a condition of model-8 says that its pods do not start", 60)
    wait_until_quiet(fifty.calls)
    fifty.calls.forget()
    time.sleep(QUIET_SECONDS / 2)
    assert fifty.calls.writes().total() == 0
    assert before <= pods(fifty.namespace), "the old ones serve on"
    fifty.namespace.patch("fgd", "model-8", {"spec": {"podTemplate": None}})
    until(lambda: len(ready(fifty.namespace)) == DEPLOYMENTS, "all are Ready again", READY_SECONDS)


def test_where_nothing_changes_nothing_is_written_and_next_to_nothing_read(
    fifty: Fifty, operator: OperatorProcess
) -> None:
    until(lambda: len(blind(fifty.namespace)) == DEPLOYMENTS // AUTOSCALED_EVERY, "each autoscaler has said it", 90)
    wait_until_quiet(fifty.calls)
    fifty.calls.forget()
    cpu = operator.cpu_seconds()
    time.sleep(QUIET_SECONDS)
    found = fifty.calls.counted()
    print(
        f"\nin {QUIET_SECONDS:g} s at rest, {operator.cpu_seconds() - cpu:.2f} s of CPU:\n{table(found, DEPLOYMENTS)}"
    )
    assert fifty.calls.writes().total() == 0
    # What is left is asked once for all of them at each resync, which is 60 times as often here as by default.
    assert found.total() <= 3 * (QUIET_SECONDS / RESYNC_SECONDS + 1)


def test_what_others_write_into_fields_of_their_own_is_none_of_our_business(fifty: Fifty) -> None:
    until(lambda: len(blind(fifty.namespace)) == DEPLOYMENTS // AUTOSCALED_EVERY, "each autoscaler has said it", 90)
    fifty.calls.forget()
    fifty.namespace.kubectl("annotate", "deployment", "--all", "note=seen")
    wait_until_quiet(fifty.calls)
    assert fifty.calls.writes() == Counter()


def test_an_operator_that_starts_again_applies_each_object_once_and_restarts_nothing(
    fifty: Fifty, operator: OperatorProcess
) -> None:
    wait_until_quiet(fifty.calls)
    before = pods(fifty.namespace)
    assert operator.stop() == 0
    fifty.calls.forget()
    operator.start()
    until(operator.is_ready, "the operator acts again", 60)
    wait_until_quiet(fifty.calls)
    writes = fifty.calls.writes()
    print(f"\n{table(fifty.calls.counted(), DEPLOYMENTS)}")
    assert writes.total() <= OBJECTS * DEPLOYMENTS
    assert pods(fifty.namespace) == before
    assert len(ready(fifty.namespace)) == DEPLOYMENTS


def test_deleting_all_leaves_nothing_and_costs_the_operator_nothing(fifty: Fifty) -> None:
    wait_until_quiet(fifty.calls)
    fifty.calls.forget()
    began = time.monotonic()
    fifty.namespace.kubectl("delete", labels.PLURAL, "--all")
    until(lambda: not fifty.namespace.ours(), "nothing of ours is left", 90)
    print(f"\nall gone after {time.monotonic() - began:.1f} s")
    wait_until_quiet(fifty.calls)
    assert fifty.calls.writes() == Counter()
    assert not [name for name in fifty.namespace.everything() if "model-" in name]
