"""What kwok is told: its command line, its nodes, and stages that read the annotations we document."""

from pathlib import Path

import pytest
import yaml

from fastgen.errors import UsageError
from fastgen_devcluster import kwok
from fastgen_devcluster.options import ClusterOptions


def test_it_plays_only_nodes_that_carry_its_mark() -> None:
    command = kwok.command(Path("/bin/kwok"), kubeconfig=Path("/kubeconfig"))
    assert command[0] == "/bin/kwok"
    assert "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake" in command
    assert kwok.node("fake-0", gpus=8, tainted=False)["metadata"]["annotations"] == {"kwok.x-k8s.io/node": "fake"}


def test_a_node_has_room_and_the_gpus_it_is_given() -> None:
    status = kwok.node("fake-0", gpus=4, tainted=False)["status"]
    assert status["capacity"] == status["allocatable"]
    assert status["capacity"]["nvidia.com/gpu"] == "4"


def test_beside_nodes_that_really_run_pods_it_keeps_away_what_does_not_ask_for_it() -> None:
    assert kwok.node("fake-0", gpus=0, tainted=False)["spec"]["taints"] == []
    (taint,) = kwok.node("fake-0", gpus=0, tainted=True)["spec"]["taints"]
    assert (taint["key"], taint["effect"]) == ("kwok.x-k8s.io/node", "NoSchedule")


def test_the_stages_read_the_annotations_that_are_documented() -> None:
    stages = {stage["metadata"]["name"]: stage["spec"] for stage in yaml.safe_load_all(kwok.STAGES.read_text())}
    assert (
        stages["pod-ready"]["delay"]["durationFrom"]["expressionFrom"] == f'.metadata.annotations["{kwok.START_AFTER}"]'
    )
    fails = {"key": f'.metadata.annotations["{kwok.FAILS}"]', "operator": "Exists"}
    assert fails in stages["pod-fails"]["selector"]["matchExpressions"]
    assert fails | {"operator": "DoesNotExist"} in stages["pod-ready"]["selector"]["matchExpressions"]


def test_how_many_nodes_has_a_limit() -> None:
    with pytest.raises(UsageError, match="kwok_nodes=1001: allowed are 0 to 1000"):
        ClusterOptions(kwok_nodes=1001)
