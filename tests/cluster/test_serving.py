"""The life of one deployment, as a person leads it: apply, ask, scale, meddle, delete."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import httpx
import pytest
from cluster_audit import Audit
from cluster_deployment import Deployed, deploy, names
from cluster_load import Stream, load
from cluster_namespace import Json, Namespace, until
from cluster_operator import ACCOUNT, Operator

from fastgen.contract import labels

pytestmark = pytest.mark.cluster
PUT_BACK_SECONDS = 5.0
QUIET_SECONDS = 15.0


@pytest.fixture(scope="module")
def guide(module_namespace: Namespace) -> Iterator[Deployed]:
    """One replica, and one balancer in front of it."""
    deployed = deploy(module_namespace, "guide", replicas=1)
    deployed.wait_until_settled(1)
    return deployed


def test_apply_leads_to_ready_and_to_an_answer_through_the_balancer(guide: Deployed) -> None:
    ready = guide.wait_for("Ready", "True", "Serving")
    assert ready["message"]
    assert {kind: guide.condition(kind)["status"] for kind in ("ModelReady", "ReplicasReady", "BalancerReady")} == {
        "ModelReady": "True", "ReplicasReady": "True", "BalancerReady": "True",
    }  # fmt: skip
    assert guide.status["address"] == f"{guide.url}.svc:80/v1"
    assert "split" in guide.chat("What is Dynamic SplitFuse?").lower()


def test_an_answer_is_streamed_token_by_token(guide: Deployed) -> None:
    stream = Stream(guide, tokens=64)
    stream.end()
    assert stream.is_whole, stream.error
    assert len(stream.pieces) > 20


def test_get_shows_how_it_is(guide: Deployed) -> None:
    header, row = guide.namespace.kubectl("get", "fgd", "guide").splitlines()
    shown = dict(zip(header.split(), row.split(), strict=False))
    assert (shown["READY"], shown["REPLICAS"], shown["DESIRED"]) == ("True", "1", "1")


def test_scalers_find_its_replicas(guide: Deployed) -> None:
    """A HorizontalPodAutoscaler reads the scale subresource, and finds the pods by its selector."""
    path = f"/apis/{labels.API_VERSION}/namespaces/{guide.namespace.name}/{labels.PLURAL}/guide/scale"
    scale = json.loads(guide.namespace.cluster.kubectl("get", "--raw", path))
    assert (scale["spec"]["replicas"], scale["status"]["replicas"]) == (1, 1)
    found = guide.namespace.kubectl("get", "pods", "--selector", scale["status"]["selector"], "--output=name").split()
    assert found == [f"pod/{name}" for name in names(guide.replica_pods())]


def test_prometheus_finds_its_pods(guide: Deployed) -> None:
    """By annotations and labels alone, as examples/prometheus.yaml says."""
    query = f'up{{namespace="{guide.namespace.name}", fastgen_dev_deployment="guide"}}'

    def look() -> bool:
        answer = httpx.get(f"{guide.namespace.cluster.prometheus_url}/api/v1/query", params={"query": query}).json()
        up = {series["metric"]["pod"]: series["value"][1] for series in answer["data"]["result"]}
        return up == dict.fromkeys(names(guide.replica_pods()) | names(guide.balancer_pods()), "1")

    until(look, "Prometheus has scraped replica and balancer", 30)


def test_nothing_of_kopf_is_left_on_it(guide: Deployed) -> None:
    """No finalizer, or a dead operator would keep it from being deleted; no annotation of its own."""
    metadata = guide.live["metadata"]
    assert "finalizers" not in metadata
    assert set(metadata.get("annotations", {})) <= {"kubectl.kubernetes.io/last-applied-configuration"}


def test_where_nothing_changes_nothing_is_written(guide: Deployed, operator: Operator) -> None:
    audit = Audit(guide.namespace.cluster)
    time.sleep(QUIET_SECONDS)
    assert audit.writes(ACCOUNT) == []


def test_applying_it_again_as_it_is_restarts_nothing(guide: Deployed) -> None:
    before = names(guide.replica_pods()) | names(guide.balancer_pods())
    guide.namespace.patch("fgd", "guide", {"metadata": {"annotations": {"team": "search"}}})
    guide.namespace.patch("fgd", "guide", {"metadata": {"annotations": {"team": None}}})
    guide.wait_until_settled(1)
    assert names(guide.replica_pods()) | names(guide.balancer_pods()) == before


def test_scaling_by_hand_adds_and_takes_away_without_failing_a_request(guide: Deployed) -> None:
    first = names(guide.replica_pods())
    with load(guide, clients=1, streams=1) as running:
        guide.scale(2)
        guide.wait_until_settled(2)
        assert first < names(guide.replica_pods())
        assert guide.condition("Ready")["status"] == "True"
        guide.scale(1)
        guide.wait_until_settled(1)
    assert running.failures == []
    assert running.outcomes


# -- meddling -------------------------------------------------------------------------------------------------------

EDITS: list[tuple[str, str, Json]] = [
    ("Service", "guide", {"spec": {"selector": {"fastgen.dev/deployment": "another"}}}),
    ("Service", "guide", {"metadata": {"labels": {labels.MANAGED_BY: None, labels.DEPLOYMENT: None}}}),
    ("Service", "guide-replica", {"metadata": {"ownerReferences": None}}),
    ("Role", "guide-balancer", {"rules": []}),
    ("RoleBinding", "guide-balancer", {"subjects": []}),
    ("ServiceAccount", "guide-balancer", {"metadata": {"labels": {labels.MANAGED_BY: "somebody"}}}),
    ("PodDisruptionBudget", "guide-replica", {"spec": {"maxUnavailable": 0}}),
    ("Deployment", "guide-replica", {"spec": {"replicas": 3}}),
    ("Deployment", "guide-replica", {"spec": {"strategy": {"type": "Recreate", "rollingUpdate": None}}}),
]


def essence(child: Json) -> Json:
    """What a person could have edited, without what the API server and others keep on it."""
    metadata = child["metadata"]
    kept = {key: metadata.get(key) for key in ("labels", "ownerReferences")}
    return {**{key: value for key, value in child.items() if key not in ("metadata", "status")}, "metadata": kept}


@pytest.mark.parametrize(("kind", "name", "change"), EDITS, ids=lambda value: value if isinstance(value, str) else "")
def test_a_child_that_was_edited_is_put_back(guide: Deployed, kind: str, name: str, change: Json) -> None:
    before = essence(guide.namespace.get(kind, name))
    guide.namespace.patch(kind, name, change)
    until(lambda: essence(guide.namespace.get(kind, name)) == before, f"{kind} {name} is as it was", PUT_BACK_SECONDS)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("Service", "guide"),
        ("Service", "guide-replica"),
        ("ServiceAccount", "guide-balancer"),
        ("Role", "guide-balancer"),
        ("RoleBinding", "guide-balancer"),
        ("PodDisruptionBudget", "guide-balancer"),
        ("Deployment", "guide-balancer"),
    ],
)
def test_a_child_that_was_deleted_is_put_back(guide: Deployed, kind: str, name: str) -> None:
    before = guide.namespace.get(kind, name)
    guide.namespace.kubectl("delete", kind, name, "--wait=false")

    def look() -> bool:
        found = guide.namespace.find(kind, name)
        return found is not None and found["metadata"]["uid"] != before["metadata"]["uid"]

    until(look, f"{kind} {name} is there again", PUT_BACK_SECONDS)
    assert essence(guide.namespace.get(kind, name))["metadata"] == essence(before)["metadata"]


def test_a_balancer_whose_command_was_edited_is_put_back(guide: Deployed) -> None:
    before = guide.namespace.get("Deployment", "guide-balancer")["spec"]["template"]["spec"]["containers"]
    change = [
        {
            "op": "replace",
            "path": "/spec/template/spec/containers/0/args",
            "value": ["balance", "--policy", "RoundRobin"],
        }
    ]
    guide.namespace.json_patch("Deployment", "guide-balancer", change)
    until(
        lambda: guide.namespace.get("Deployment", "guide-balancer")["spec"]["template"]["spec"]["containers"] == before,
        "the balancer's command is as it was",
        PUT_BACK_SECONDS,
    )
    guide.wait_until_settled(1)
    assert guide.chat()


def test_the_longest_name_fits_into_all_of_its_objects(namespace: Namespace) -> None:
    name = "l" * labels.MAX_NAME_LENGTH
    long = deploy(namespace, name, model={"source": "hf://a/b", "cache": {"size": "1Gi"}}, suspend=True)
    long.wait_for("Ready", "False", "Suspended", timeout_seconds=20)
    assert f"PersistentVolumeClaim/{labels.model_cache_name(name)}" in namespace.ours()


def test_its_pods_may_run_where_only_restricted_ones_may(namespace: Namespace) -> None:
    """The API server judges them: what the Pod Security Standards do not allow would not be made at all."""
    namespace.cluster.kubectl("label", "namespace", namespace.name, "pod-security.kubernetes.io/enforce=restricted")
    strict = deploy(namespace, "strict", model={"source": "pvc://weights/llama"})
    until(lambda: strict.replica_pods() and strict.balancer_pods(), "both kinds of pods are made", 30)
    assert namespace.events("FailedCreate") == []


# -- the end --------------------------------------------------------------------------------------------------------


def test_deleting_it_in_the_foreground_makes_nothing_anew(namespace: Namespace) -> None:
    """While it waits for its objects to go, it is still there; none of them is put back."""
    deploy(namespace, "brief", suspend=True).wait_for("Ready", "False", "Suspended", timeout_seconds=20)
    namespace.kubectl("delete", "fgd", "brief", "--cascade=foreground", "--timeout=60s")
    assert namespace.everything() == []


def test_deleting_it_cleans_all(guide: Deployed) -> None:
    assert len(guide.namespace.ours()) > 8
    guide.namespace.kubectl("delete", "fgd", "guide")
    until(lambda: not guide.namespace.ours(), "everything that was made for it is gone", 60)
    assert guide.namespace.everything() == []
