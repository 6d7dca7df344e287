"""The number of replicas follows the load, through a real Prometheus; and stays where nothing is known."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from cluster_audit import Audit
from cluster_deployment import Deployed, deploy
from cluster_load import load
from cluster_namespace import Json, Namespace, until
from cluster_operator import ACCOUNT

from fastgen_devcluster.cluster import DevCluster

pytestmark = pytest.mark.cluster
PROMETHEUS = {"url": "http://prometheus.monitoring:9090"}
IMPATIENT: Json = {"scaleDown": {"stabilizationWindowSeconds": 5}}
SLOW = {"limits": {"cpu": "200m"}}
"""So little of a core that two clients are too many."""
QUIET_SECONDS = 15.0
LOOKS_SECONDS = 5.0
"""Long enough for the autoscaler to look twice."""
MEASURED: Json = {"tokenBudget": "auto"}
"""Each replica measures what it can do."""


@pytest.fixture(scope="module")
def elastic(module_namespace: Namespace) -> Iterator[Deployed]:
    deployed = deploy(
        module_namespace,
        "elastic",
        engine=MEASURED,
        resources=SLOW,
        autoscaling={
            "minReplicas": 1, "maxReplicas": 2, "windowSeconds": 20, "prometheus": PROMETHEUS, "behavior": IMPATIENT,
        },
    )  # fmt: skip
    deployed.wait_until_settled(1)
    deployed.wait_for("AutoscalingActive", "True")
    return deployed


def replicas(deployed: Deployed) -> int:
    """What the autoscaler asks for."""
    found: int = deployed.live["spec"]["replicas"]
    return found


def test_it_scales_up_under_load_and_down_after_it(elastic: Deployed) -> None:
    with load(elastic, clients=6) as running:
        until(lambda: replicas(elastic) == 2, "it asks for a second replica", 90)
        elastic.wait_for("ReplicasReady", "True")
        until(lambda: "effectiveRatio" in elastic.status, "the share of promises that were kept is shown", 30)
    assert running.failures == []
    up = elastic.status["autoscaling"]["decisions"][0]
    assert (up["previousReplicas"], up["replicas"]) == (1, 2)
    assert up["reason"] in ("DemandAboveCapacity", "AttainmentBelowTarget")
    assert elastic.namespace.events("ScaledUp")

    until(lambda: replicas(elastic) == 1, "it takes the second away", 120)
    elastic.wait_until_settled(1)
    down = elastic.status["autoscaling"]["decisions"][0]
    assert (down["previousReplicas"], down["replicas"]) == (2, 1)
    assert down["reason"] in ("DemandFitsFewer", "Idle")


def test_at_rest_nothing_is_written_though_it_looks_every_few_seconds(elastic: Deployed) -> None:
    """The numbers behind a decision change with every look; they are metrics, and no writes."""
    audit = Audit(elastic.namespace.cluster)
    time.sleep(QUIET_SECONDS)
    assert audit.writes(ACCOUNT) == []


def test_without_prometheus_it_holds_and_says_so(cluster: DevCluster, elastic: Deployed) -> None:
    elastic.wait_for("AutoscalingActive", "True")
    before = replicas(elastic)
    cluster.stop_component("prometheus")
    try:
        said = elastic.wait_for("AutoscalingActive", "False", "PrometheusUnavailable", timeout_seconds=60)
        assert "prometheus" in said["message"].lower()
        assert elastic.chat()
        assert replicas(elastic) == before
        assert elastic.condition("Ready")["status"] == "True"
    finally:
        cluster.start_component("prometheus")
    elastic.wait_for("AutoscalingActive", "True", timeout_seconds=60)
    assert replicas(elastic) == before


def test_advisory_says_what_it_would_do_and_does_nothing(elastic: Deployed) -> None:
    elastic.change(autoscaling={"mode": "Advisory", "minReplicas": 2})
    elastic.wait_for("AutoscalingActive", "True", "Advisory", timeout_seconds=30)
    until(lambda: elastic.status["autoscaling"]["desiredReplicas"] == 2, "it would ask for two", 30)
    audit = Audit(elastic.namespace.cluster)
    time.sleep(LOOKS_SECONDS)
    assert replicas(elastic) == 1
    assert not [write for write in audit.writes(ACCOUNT) if write.what.endswith("/scale")]


def test_to_zero_and_back_with_a_request_held(namespace: Namespace) -> None:
    sleepy = deploy(
        namespace,
        "sleepy",
        replicas=0,
        autoscaling={
            "minReplicas": 0, "maxReplicas": 1, "windowSeconds": 20, "prometheus": PROMETHEUS, "behavior": IMPATIENT,
        },
    )  # fmt: skip
    sleepy.wait_for("Ready", "True", "Asleep")
    assert sleepy.replica_pods() == []
    answers: list[str] = []
    asking = threading.Thread(target=lambda: answers.append(sleepy.chat(timeout_seconds=200)))
    asking.start()
    try:
        until(lambda: replicas(sleepy) == 1, "the held request wakes a replica", 60)
    finally:
        asking.join()
    assert answers[0]
    sleepy.wait_for("Ready", "True", "Serving")
    until(lambda: replicas(sleepy) == 0, "it falls asleep again", 40)
    sleepy.wait_for("Ready", "True", "Asleep")
    until(lambda: not sleepy.replica_pods(leaving=True), "no replica is left", 60)
