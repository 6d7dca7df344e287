"""What the operator does with objects, on a real API server with real controllers and no nodes: pods stay Pending.

It runs as a process with its own rights of an administrator, looks at everything anew every 2 s, and is told nothing of
this test. Who wrote what is read from the API server's audit log.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster_deployment import Deployed, deploy
from cluster_namespace import Json, Namespace, api_client, until
from kubernetes.dynamic import DynamicClient
from meddling import EDITS
from operator_process import OperatorProcess, operator_process
from waiting import eventually

from fastgen_devcluster.cluster import ClusterOptions, DevCluster, running

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]
PUT_BACK_SECONDS = 5.0
CRD = ROOT / "crds" / "fastgendeployments.yaml"


@pytest.fixture(scope="module")
def cluster() -> Iterator[DevCluster]:
    """A control plane and nothing else."""
    options = ClusterOptions(name=f"loop-{os.getpid()}", nodes=0, process_node=False, prometheus=False)
    with running(options) as found:
        found.kubectl("apply", "--filename", str(CRD))
        found.kubectl("wait", "--for=condition=Established", "crd/fastgendeployments.fastgen.dev")
        yield found


@pytest.fixture(scope="module")
def api(cluster: DevCluster) -> Iterator[DynamicClient]:
    with api_client(cluster) as found:
        yield found


@pytest.fixture(scope="module")
def operator(cluster: DevCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    log = tmp_path_factory.mktemp("operator") / "operator.log"
    with operator_process(cluster.kubeconfig, log, "--resync-seconds", "2") as found:
        yield found.wait_until("leader")


@pytest.fixture
def llama(namespace: Namespace) -> Deployed:
    """A deployment whose objects are all there."""
    return made(namespace, "llama")


def made(namespace: Namespace, name: str, **spec: Any) -> Deployed:
    deployed = deploy(namespace, name, **spec)
    deployed.wait_for("Progressing", "True", "RollingOut", timeout_seconds=30)
    return deployed


def conditions(namespace: Namespace, name: str = "llama") -> dict[str, Json]:
    status = namespace.get("FastGenDeployment", name).get("status") or {}
    return {condition["type"]: condition for condition in status.get("conditions", ())}


def writes(cluster: DevCluster, since: int) -> list[str]:
    """What the operator wrote, Leases left out, as VERB RESOURCE/NAME."""
    found = []
    with cluster.audit_log.open() as log:
        log.seek(since)
        for line in log.read().rpartition("\n")[0].splitlines():
            entry = json.loads(line)
            about = entry.get("objectRef") or {}
            is_write = entry["verb"] not in ("get", "list", "watch") and about.get("resource") != "leases"
            if is_write and entry.get("userAgent", "").startswith("fastgen-operator"):
                found.append(f"{entry['verb']} {about.get('resource')}/{about.get('name')}")
    return found


# -- putting back ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("edit", EDITS)
def test_whatever_was_changed_is_put_back_within_5_s_and_told(llama: Deployed, edit: str) -> None:
    namespace = llama.namespace
    kind, name, change, is_back = EDITS[edit]
    before = namespace.get(kind, name)
    namespace.json_patch(kind, name, change)
    until(lambda: is_back(namespace.get(kind, name)), f"{edit} is put back", PUT_BACK_SECONDS)
    until(lambda: f"{kind} {name}" in str(namespace.events("PutBack")), "an event tells of it", PUT_BACK_SECONDS)
    until(lambda: f"{kind} {name}" in conditions(namespace)["Progressing"]["message"], "so does the status", 5)
    after = namespace.get(kind, name)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after.get("spec") == before.get("spec")


def test_what_others_mark_and_restart_stays_as_they_made_it(llama: Deployed, cluster: DevCluster) -> None:
    namespace = llama.namespace
    namespace.kubectl("rollout", "restart", "deployment/llama-balancer")
    namespace.kubectl("label", "service/llama", "team=a")
    namespace.kubectl("annotate", "deployment/llama-replica", "why=because")
    since = cluster.audit_log.stat().st_size
    time.sleep(5)
    assert not [write for write in writes(cluster, since) if "fastgendeployments" not in write]
    template = namespace.get("Deployment", "llama-balancer")["spec"]["template"]
    assert "kubectl.kubernetes.io/restartedAt" in template["metadata"]["annotations"]
    assert namespace.get("Service", "llama")["metadata"]["labels"]["team"] == "a"
    assert namespace.events("PutBack") == []


def test_a_program_that_does_not_stop_is_answered_ever_more_slowly(
    llama: Deployed, cluster: DevCluster, api: DynamicClient
) -> None:
    namespace, since = llama.namespace, cluster.audit_log.stat().st_size
    deployments = api.resources.get(api_version="apps/v1", kind="Deployment")
    edits, deadline = 0, time.monotonic() + 12
    while time.monotonic() < deadline:
        change = {"spec": {"replicas": 2 + edits % 5}}
        deployments.patch(change, "llama-replica", namespace.name, content_type="application/merge-patch+json")
        edits += 1
    answers = [write for write in writes(cluster, since) if write == "patch deployments/llama-replica"]
    # Each answer is two calls: one that learns who took the field, one that takes it back.
    assert 10 <= len(answers) <= 40 < edits
    until(lambda: namespace.get("Deployment", "llama-replica")["spec"]["replicas"] == 1, "the last word", 30)
    assert len(namespace.events("PutBack")) == 1, "the same words are said once"


# -- what is not wanted, not ours, or not allowed ----------------------------------------------------------------------


def test_what_the_manifest_does_not_ask_for_any_more_goes(namespace: Namespace) -> None:
    made(namespace, "llama", model={"source": "hf://org/model", "cache": {"size": "1Gi"}})
    namespace.get("PersistentVolumeClaim", "llama-model-cache")
    namespace.patch("fgd", "llama", {"spec": {"model": {"cache": None}}})
    until(lambda: namespace.find("PersistentVolumeClaim", "llama-model-cache") is None, "the claim goes", 10)
    assert "llama-model-cache" in str(namespace.events("Removed"))


def test_an_object_of_somebody_else_is_left_alone_until_it_goes(namespace: Namespace) -> None:
    theirs = {"metadata": {"name": "llama"}, "spec": {"ports": [{"port": 1}], "selector": {"app": "theirs"}}}
    namespace.apply({"apiVersion": "v1", "kind": "Service", **theirs})
    before = namespace.get("Service", "llama")
    llama = deploy(namespace, "llama")
    told = llama.wait_for("Ready", "False", "ObjectNotOurs", timeout_seconds=30)
    assert "Service llama exists already and is nobody's; delete or rename it" in told["message"]
    assert namespace.get("Service", "llama") == before
    namespace.kubectl("delete", "service", "llama")
    llama.wait_for("Progressing", "True", "RollingOut", timeout_seconds=90)
    assert namespace.get("Service", "llama")["spec"]["ports"][0]["port"] == 80


def test_what_an_earlier_deployment_left_running_is_taken_over(llama: Deployed) -> None:
    namespace = llama.namespace
    before = namespace.get("Deployment", "llama-replica")
    namespace.kubectl("delete", "fgd", "llama", "--cascade=orphan")
    until(lambda: not namespace.get("Service", "llama")["metadata"].get("ownerReferences"), "it is an orphan", 30)
    made(namespace, "llama")
    after = namespace.get("Deployment", "llama-replica")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["metadata"]["ownerReferences"][0]["uid"] != before["metadata"]["ownerReferences"][0]["uid"]
    assert after["spec"] == before["spec"]


def test_a_deployment_deleted_and_made_again_at_once_is_whole(llama: Deployed) -> None:
    namespace = llama.namespace
    namespace.kubectl("delete", "fgd", "llama")
    again = made(namespace, "llama")
    uid = namespace.get("FastGenDeployment", "llama")["metadata"]["uid"]

    def is_whole() -> bool:
        services = [thing for thing in namespace.all("Service") if "deletionTimestamp" not in thing["metadata"]]
        return [thing["metadata"]["ownerReferences"][0]["uid"] for thing in services] == [uid, uid]

    until(is_whole, "all of it is the new one's", 60)
    again.wait_for("Progressing", "True", "RollingOut", timeout_seconds=10)


def test_what_a_quota_refuses_is_said_and_made_when_it_is_raised(namespace: Namespace) -> None:
    namespace.kubectl("create", "quota", "few", "--hard=count/deployments.apps=1")
    until(lambda: (namespace.get("ResourceQuota", "few").get("status") or {}).get("hard"), "it counts", 30)
    llama = deploy(namespace, "llama")
    told = llama.wait_for("Ready", "False", "QuotaExceeded", timeout_seconds=30)
    assert "exceeded quota: few" in told["message"]
    assert len(namespace.all("Deployment")) == 1
    assert len(namespace.all("Service")) == 2
    namespace.patch("quota", "few", {"spec": {"hard": {"count/deployments.apps": "2"}}})
    llama.wait_for("Progressing", "True", "RollingOut", timeout_seconds=90)


def test_pods_that_a_quota_refuses_are_said(namespace: Namespace) -> None:
    namespace.kubectl("create", "quota", "none", "--hard=pods=0")
    until(lambda: (namespace.get("ResourceQuota", "none").get("status") or {}).get("hard"), "it counts", 30)
    told = deploy(namespace, "llama").wait_for("ReplicasReady", "False", "PodsRefused", timeout_seconds=60)
    assert "exceeded quota: none" in told["message"]


def test_a_manifest_that_cannot_run_changes_nothing(llama: Deployed, cluster: DevCluster) -> None:
    namespace = llama.namespace
    since = cluster.audit_log.stat().st_size
    namespace.patch("fgd", "llama", {"spec": {"model": {"source": "s3://bucket/folder"}, "balancer": {"replicas": 3}}})
    told = llama.wait_for("Ready", "False", "ModelSourceUnsupported", timeout_seconds=30)
    assert "write pvc://CLAIM/FOLDER" in told["message"]
    assert told["observedGeneration"] == namespace.get("FastGenDeployment", "llama")["metadata"]["generation"]
    assert not [
        write for write in writes(cluster, since) if "fastgendeployments" not in write and "events" not in write
    ]
    assert namespace.get("Deployment", "llama-balancer")["spec"]["replicas"] == 1


# -- writing little -------------------------------------------------------------------------------------------------


def test_a_steady_state_costs_no_write_and_no_read_but_the_resync(
    llama: Deployed, cluster: DevCluster, operator: OperatorProcess
) -> None:
    time.sleep(3)
    since = cluster.audit_log.stat().st_size
    looks = operator.total("fastgen_operator_reconciles_total")
    time.sleep(8)
    assert operator.total("fastgen_operator_reconciles_total") >= looks + 3, "it did look"
    assert writes(cluster, since) == []


def test_nothing_is_put_on_the_resource(llama: Deployed) -> None:
    metadata = llama.namespace.get("FastGenDeployment", "llama")["metadata"]
    assert "finalizers" not in metadata
    assert set(metadata["annotations"]) == {"kubectl.kubernetes.io/last-applied-configuration"}


def test_a_namespace_that_goes_makes_no_noise(
    cluster: DevCluster, api: DynamicClient, operator: OperatorProcess
) -> None:
    cluster.kubectl("create", "namespace", "brief")
    namespace = Namespace(cluster, "brief", api)
    for number in range(3):
        made(namespace, f"llama-{number}")
    failed, lines = operator.total("fastgen_operator_errors_total"), len(operator.text().splitlines())
    cluster.kubectl("delete", "namespace", "brief", "--timeout=60s")
    time.sleep(1)
    assert operator.total("fastgen_operator_errors_total") == failed
    said = operator.text().splitlines()[lines:]
    assert [line for line in said if "WARNING" in line or "ERROR" in line] == []


# -- one acts -------------------------------------------------------------------------------------------------------


def test_who_is_told_to_go_hands_over_at_once(
    cluster: DevCluster, api: DynamicClient, tmp_path: Path, operator: OperatorProcess
) -> None:
    flags = ("--lease-name", "hand-over", "--namespace", "default")
    with (
        operator_process(cluster.kubeconfig, tmp_path / "first.log", *flags) as first,
        operator_process(cluster.kubeconfig, tmp_path / "second.log", *flags) as second,
    ):
        eventually(lambda: {first.state(), second.state()} == {"leader", "standby"}, 60)
        leaver, heir = (first, second) if first.state() == "leader" else (second, first)
        assert (leaver.total("fastgen_operator_leader"), heir.total("fastgen_operator_leader")) == (1.0, 0.0)
        status, seconds = leaver.stop()
        assert (status, seconds < PUT_BACK_SECONDS) == (0, True), leaver.text()
        heir.wait_until("leader", 5)

        lease = {"spec": {"holderIdentity": "a-usurper", "leaseDurationSeconds": 3600}}
        Namespace(cluster, "default", api).patch("lease", "hand-over", lease)
        assert heir.process.wait(15) == 1
        assert "a-usurper" in heir.text()


def test_check_says_who_acts_or_that_nobody_does(cluster: DevCluster, operator: OperatorProcess) -> None:
    def check(*flags: str) -> subprocess.Popen[str]:
        words = [sys.executable, "-m", "fastgen_server", "operator", "--check", *flags]
        return subprocess.Popen(words, env=cluster.environment(), stdout=subprocess.PIPE, text=True)

    nobody = check("--lease-name", "of-nobody")
    somebody = check()
    said, _ = somebody.communicate(timeout=60)
    assert somebody.returncode == 0, said
    assert "FastGenDeployment (fastgen.dev/v1alpha1) is served" in said
    assert "acts (lease default/fastgen-operator" in said
    said, _ = nobody.communicate(timeout=60)
    assert nobody.returncode == 1
    assert "FAIL  operator    nobody holds lease default/of-nobody" in said


# -- what the cluster has -------------------------------------------------------------------------------------------

MONITORS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {
        "name": "servicemonitors.monitoring.coreos.com",
        "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"},
    },
    "spec": {
        "group": "monitoring.coreos.com",
        "scope": "Namespaced",
        "names": {"kind": "ServiceMonitor", "plural": "servicemonitors", "singular": "servicemonitor"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                },
            }
        ],
    },
}


def test_service_monitors_are_made_as_soon_as_the_cluster_knows_them(llama: Deployed, cluster: DevCluster) -> None:
    namespace = llama.namespace
    cluster.kubectl("apply", "--filename", "-", input=json.dumps(MONITORS))
    monitors = "servicemonitors.monitoring.coreos.com"

    def names() -> str:
        return cluster.kubectl("get", monitors, "--namespace", namespace.name, "--output=name", check=False)

    until(lambda: "/llama" in names(), "it is made", 30)
    cluster.kubectl("delete", "crd", monitors)
    namespace.kubectl("delete", "service", "llama")
    until(lambda: namespace.find("Service", "llama"), "everything else goes on", PUT_BACK_SECONDS)
    assert conditions(namespace)["Progressing"]["reason"] == "RollingOut"


def test_without_its_definition_it_waits_and_goes_on_when_it_is_back(
    cluster: DevCluster, api: DynamicClient, operator: OperatorProcess
) -> None:
    cluster.kubectl("delete", "--filename", str(CRD))
    cluster.kubectl("apply", "--filename", str(CRD))
    cluster.kubectl("wait", "--for=condition=Established", "crd/fastgendeployments.fastgen.dev")
    cluster.kubectl("create", "namespace", "afterwards")
    namespace = Namespace(cluster, "afterwards", api)
    deploy(namespace, "llama").wait_for("Progressing", "True", "RollingOut", timeout_seconds=60)
    assert operator.process.poll() is None


def test_a_hung_api_server_ends_the_one_that_acts_before_another_may(cluster: DevCluster, tmp_path: Path) -> None:
    """The last test: it ends the operator of the others, too."""
    flags = ("--lease-name", "hung", "--namespace", "default")
    with operator_process(cluster.kubeconfig, tmp_path / "operator.log", *flags) as operator:
        operator.wait_until("leader")
        server = cluster.component_process("kube-apiserver")
        assert server is not None
        os.kill(server.pid, signal.SIGSTOP)
        started = time.monotonic()
        try:
            assert operator.process.wait(30) == 1
        finally:
            os.kill(server.pid, signal.SIGCONT)
        assert time.monotonic() - started < 15, "others may act when a Lease is 15 s old"
