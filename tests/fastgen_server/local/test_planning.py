"""What a manifest becomes on one machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fastgen.contract import parse_manifest
from fastgen.contract.command_line import Listen
from fastgen.contract.manifest import FastGenDeployment
from fastgen.errors import UsageError
from fastgen_server.local.planning import (
    LocalPlan,
    Machine,
    at_ports,
    local_replicas,
    meaningless_here,
    plan_local,
    share_out,
    this_machine,
)


def deployment(source: str = "hf://org/model", **spec: Any) -> FastGenDeployment:
    return parse_manifest(
        {
            "apiVersion": "fastgen.dev/v1alpha1",
            "kind": "FastGenDeployment",
            "metadata": {"name": "llama"},
            "spec": {"model": {"source": source}, **spec},
        }
    )


def plan(manifest: FastGenDeployment, machine: Machine, **more: Any) -> LocalPlan:
    folders = {"folder": Path("/state/llama"), "manifest_folder": Path("/manifests")}
    return plan_local(manifest, machine=machine, listen=Listen("127.0.0.1", 8080, 8081), **(folders | more))


def flag(arguments: tuple[str, ...], name: str) -> str:
    return arguments[arguments.index(name) + 1]


def test_each_replica_gets_a_gpu_of_its_own_and_its_part_of_the_threads() -> None:
    found = plan(deployment(replicas=2), Machine(("0", "1", "2"), 8))
    assert [r.environment["CUDA_VISIBLE_DEVICES"] for r in found.replicas] == ["0", "1"]
    assert [r.environment["OMP_NUM_THREADS"] for r in found.replicas] == ["4", "4"]
    assert [flag(r.arguments, "--memory-fraction") for r in found.replicas] == ["0.9", "0.9"]
    assert found.balancer.environment["CUDA_VISIBLE_DEVICES"] == ""


def test_more_replicas_than_gpus_share_them_and_divide_the_memory() -> None:
    found = plan(deployment(replicas=3), Machine(("4", "5"), 2))
    assert [r.environment["CUDA_VISIBLE_DEVICES"] for r in found.replicas] == ["4", "5", "4"]
    assert [flag(r.arguments, "--memory-fraction") for r in found.replicas] == ["0.45", "0.9", "0.45"]


def test_without_gpus_replicas_share_the_host() -> None:
    for machine, engine in ((Machine((), 2), {}), (Machine(("0",), 2), {"device": "cpu"})):
        found = plan(deployment(replicas=2, engine=engine), machine)
        assert [r.environment["CUDA_VISIBLE_DEVICES"] for r in found.replicas] == ["", ""]
        assert [flag(r.arguments, "--memory-fraction") for r in found.replicas] == ["0.45", "0.45"]
        assert [r.environment["OMP_NUM_THREADS"] for r in found.replicas] == ["1", "1"]


def test_a_replica_of_several_devices_gets_neighbours() -> None:
    machine = Machine(("0", "1", "2", "3"), 16)
    found = share_out(machine, 2, devices_each=2, use_cuda=True)
    assert [place.cuda_devices for place in found] == [("0", "1"), ("2", "3")]
    with pytest.raises(UsageError, match="tensorParallel is 8, and this machine has 4"):
        share_out(machine, 1, devices_each=8, use_cuda=True)


def test_threads_that_the_user_chose_stay() -> None:
    found = plan(deployment(), this_machine({"OMP_NUM_THREADS": "3", "CUDA_VISIBLE_DEVICES": "1, 2"}))
    assert "OMP_NUM_THREADS" not in found.replicas[0].environment
    assert found.replicas[0].environment["CUDA_VISIBLE_DEVICES"] == "1"
    assert this_machine({"CUDA_VISIBLE_DEVICES": "-1"}).cuda_devices == ()


def test_a_relative_model_is_beside_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "models" / "guide").mkdir(parents=True)
    manifest = deployment("file://./models/guide")
    with pytest.raises(UsageError, match=r"models/guide holds no config\.json"):
        plan(manifest, Machine((), 2), manifest_folder=tmp_path)
    (tmp_path / "models" / "guide" / "config.json").write_text("{}")
    found = plan(manifest, Machine((), 2), manifest_folder=tmp_path)
    assert found.replicas[0].arguments[1] == str(tmp_path / "models" / "guide")
    with pytest.raises(UsageError, match="there is no folder /manifests/models/guide"):
        plan(manifest, Machine((), 2))


def test_a_hub_id_is_left_to_the_engine() -> None:
    assert plan(deployment(), Machine((), 2)).replicas[0].arguments[1] == "org/model"


@pytest.mark.parametrize("source", ["pvc://claim/folder", "s3://bucket/prefix", "oci://registry/name:tag"])
def test_what_only_a_cluster_can_fetch_is_said(source: str) -> None:
    with pytest.raises(UsageError, match="needs a cluster"):
        plan(deployment(source), Machine((), 2))


def test_the_number_of_replicas() -> None:
    scaled = {"maxReplicas": 4, "minReplicas": 2, "prometheus": {"url": "http://p"}}
    assert local_replicas(deployment()) == 1
    assert local_replicas(deployment(replicas=3)) == 3
    assert local_replicas(deployment(autoscaling=scaled)) == 2
    assert local_replicas(deployment(replicas=3, suspend=True)) == 0
    assert len(plan(deployment(replicas=3), Machine((), 2), replicas=1).replicas) == 1
    assert len(plan(deployment(replicas=3), Machine((), 2), replicas=0).replicas) == 0


def test_fields_without_meaning_here_are_named_if_they_were_written() -> None:
    assert meaningless_here(deployment(replicas=2, balancer={"policy": "RoundRobin"})) == ()
    manifest = deployment(
        resources={"limits": {"nvidia.com/gpu": 1}},
        podTemplate={"nodeSelector": {"a": "b"}},
        tenants={"secretRef": {"name": "keys"}},
        balancer={"replicas": 3, "service": {"port": 8000}},
        autoscaling={"maxReplicas": 2, "prometheus": {"url": "http://p"}},
        model={"source": "hf://org/model", "cache": {"size": "1Gi"}, "tokenSecretRef": {"name": "hf"}},
    )
    assert meaningless_here(manifest) == (
        "autoscaling", "tenants", "resources", "podTemplate", "model.tokenSecretRef", "model.cache",
        "balancer.replicas", "balancer.service",
    )  # fmt: skip


def test_a_balancer_that_had_a_port_keeps_it() -> None:
    found = at_ports(plan(deployment(), Machine((), 2)), 4000, 4001).balancer.arguments
    assert (flag(found, "--port"), flag(found, "--grpc-port")) == ("4000", "4001")
