"""The autoscaler's writes, as the API server records them. No replica has to run for that: these find no node."""

from __future__ import annotations

import json
import time

import pytest
from cluster_audit import Audit
from cluster_deployment import Deployed, deploy
from cluster_namespace import Namespace, until
from cluster_operator import ACCOUNT

from fastgen.contract import labels
from fastgen_operator.scaling.scale import FIELD_MANAGER

pytestmark = pytest.mark.cluster
SOON_SECONDS = 15.0
LOOKS_SECONDS = 5.0
"""Long enough for the autoscaler to look twice."""
SECRET = "hunter2"
NOWHERE = f"http://reader:{SECRET}@127.0.0.1:1/prometheus"
"""Where nobody listens."""


@pytest.fixture
def bounded(namespace: Namespace) -> Deployed:
    """Between 1 and 3 replicas, on a node that does not exist, by a Prometheus that does not either."""
    deployed = deploy(
        namespace,
        "bounded",
        replicas=1,
        autoscaling={"minReplicas": 1, "maxReplicas": 3, "prometheus": {"url": NOWHERE}},
        podTemplate={"nodeSelector": {"kubernetes.io/hostname": "nowhere"}},
    )
    deployed.wait_for("AutoscalingActive", "False", "PrometheusUnavailable", timeout_seconds=60)
    return deployed


def replicas_become(deployed: Deployed, replicas: int) -> None:
    until(lambda: deployed.live["spec"]["replicas"] == replicas, f"spec.replicas is {replicas}", SOON_SECONDS)


def test_bounds_hold_at_once_and_scale_is_all_that_is_written_for_it(bounded: Deployed) -> None:
    audit = Audit(bounded.namespace.cluster)
    bounded.scale(7)
    replicas_become(bounded, 3)
    bounded.change(autoscaling={"maxReplicas": 2})
    replicas_become(bounded, 2)
    bounded.scale(0)
    replicas_become(bounded, 1)

    until(lambda: len(bounded.namespace.events("ScaledDown")) >= 1, "people are told", SOON_SECONDS)
    about = f"{labels.PLURAL}/{bounded.name}"
    written = [write for write in audit.writes(ACCOUNT, bounded.namespace.name) if write.what.startswith(about)]
    assert {(write.verb, write.what) for write in written} == {
        ("patch", f"{about}/scale"),
        ("patch", f"{about}/status"),
    }
    assert len([write for write in written if write.what.endswith("/scale")]) >= 3


def test_it_shows_as_the_writer_of_replicas_and_of_nothing_else(bounded: Deployed) -> None:
    bounded.scale(5)
    replicas_become(bounded, 3)
    owners = json.loads(bounded.namespace.kubectl("get", "fgd", bounded.name, "--show-managed-fields", "--output=json"))
    own = [entry for entry in owners["metadata"]["managedFields"] if entry["manager"] == FIELD_MANAGER]
    assert [(entry["subresource"], entry["fieldsV1"]) for entry in own] == [("scale", {"f:spec": {"f:replicas": {}}})]


def test_a_prometheus_that_is_not_there_is_named_without_its_password(bounded: Deployed) -> None:
    said = bounded.condition("AutoscalingActive")["message"]
    assert said.startswith("http://127.0.0.1:1/prometheus ")
    assert "staying at 1 replica" in said
    assert SECRET not in json.dumps(bounded.status)


def test_while_suspended_a_person_may_scale_as_they_like(bounded: Deployed) -> None:
    bounded.change(suspend=True)
    bounded.wait_for("AutoscalingActive", "False", "Suspended", timeout_seconds=30)
    audit = Audit(bounded.namespace.cluster)
    bounded.scale(7)
    time.sleep(LOOKS_SECONDS)
    assert bounded.live["spec"]["replicas"] == 7
    assert not [write for write in audit.writes(ACCOUNT, bounded.namespace.name) if write.what.endswith("/scale")]
    bounded.change(suspend=False)
    replicas_become(bounded, 3)
