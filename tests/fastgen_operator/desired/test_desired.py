"""What exists for a manifest."""

from __future__ import annotations

import argparse
from typing import Any

import pytest
from live_objects import OBSERVED, child, live, replica_pods

from fastgen.contract import labels
from fastgen.options import from_namespace
from fastgen_operator.desired import CannotRunError, desired
from fastgen_operator.desired.grace import divide
from fastgen_server.balancer.config import BalancerConfig
from fastgen_server.commands.balance import command as balance
from fastgen_server.commands.serve import command as serve
from fastgen_server.settings import ServerConfig


def kinds(*args: Any, **spec: Any) -> list[str]:
    return [f"{thing['kind']}/{thing['metadata']['name']}" for thing in desired(live(*args, **spec), OBSERVED)]


ALWAYS = [
    "ServiceAccount/llama-balancer",
    "Role/llama-balancer",
    "RoleBinding/llama-balancer",
    "Service/llama-replica",
    "Service/llama",
    "Deployment/llama-replica",
    "Deployment/llama-balancer",
    "PodDisruptionBudget/llama-replica",
    "PodDisruptionBudget/llama-balancer",
]


def test_the_smallest_manifest_becomes_these_objects() -> None:
    assert kinds() == ALWAYS
    assert kinds(model={"cache": {"size": "50Gi"}}) == ["PersistentVolumeClaim/llama-model-cache", *ALWAYS]


def test_a_service_monitor_only_where_the_cluster_knows_them() -> None:
    found = desired(live(), OBSERVED._replace(has_service_monitors=True))
    assert [thing["kind"] for thing in found[len(ALWAYS) :]] == ["ServiceMonitor"]
    services = [thing for thing in found if thing["kind"] == "Service"]
    selector = found[-1]["spec"]["selector"]["matchLabels"]
    assert all(selector.items() <= service["metadata"]["labels"].items() for service in services)


def test_every_object_goes_with_its_owner_and_is_found_by_label() -> None:
    for thing in desired(live(model={"cache": {"size": "1Gi"}}), OBSERVED._replace(has_service_monitors=True)):
        (owner,) = thing["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["uid"], owner["controller"]) == (labels.KIND, "llama", "u-1", True)
        assert thing["metadata"]["namespace"] == "models"
        assert thing["metadata"]["labels"][labels.DEPLOYMENT] == "llama"


def test_the_same_manifest_becomes_the_same_objects() -> None:
    spec = {"model": {"cache": {"size": "1Gi"}}, "resources": {"limits": {"nvidia.com/gpu": 1}}}
    assert desired(live(**spec), OBSERVED) == desired(live(**spec, generation=9), OBSERVED)


@pytest.mark.parametrize(
    ("change", "rolls"),
    [
        ({"engine": {"tokenBudget": 256}}, {"llama-replica"}),
        ({"sla": {"generationTokensPerSecond": 6}}, {"llama-replica"}),
        ({"model": {"revision": "v2"}}, {"llama-replica"}),
        ({"podTemplate": {"annotations": {"a": "b"}}}, {"llama-replica"}),
        ({"balancer": {"policy": "RoundRobin"}}, {"llama-balancer"}),
        ({"podTemplate": {"terminationGracePeriodSeconds": 90}}, {"llama-replica", "llama-balancer"}),
        ({"replicas": 7}, set()),
        ({"suspend": True}, set()),
        ({"balancer": {"service": {"type": "NodePort"}}}, set()),
    ],
)
def test_pods_roll_when_what_they_are_made_from_changes_and_never_for_less(
    change: dict[str, Any], rolls: set[str]
) -> None:
    def hashes(**spec: Any) -> dict[str, str]:
        made = [thing for thing in desired(live(**spec), OBSERVED) if thing["kind"] == "Deployment"]
        for thing in made:
            in_pods = thing["spec"]["template"]["metadata"]["annotations"][labels.SPEC_HASH]
            assert thing["metadata"]["annotations"][labels.SPEC_HASH] == in_pods
        return {thing["metadata"]["name"]: thing["metadata"]["annotations"][labels.SPEC_HASH] for thing in made}

    before, after = hashes(), hashes(**change)
    assert {name for name in before if before[name] != after[name]} == rolls


def test_replicas_are_what_scale_says_and_nothing_when_suspended() -> None:
    auto = {"maxReplicas": 8, "minReplicas": 2, "prometheus": {"url": "http://p"}}
    for spec, replicas, balancers in (
        ({"replicas": 3}, 3, 2),
        ({"replicas": 0}, 0, 2),
        ({"replicas": 5, "autoscaling": auto}, 5, 2),
        ({"replicas": 5, "suspend": True}, 0, 0),
    ):
        deployment = live(**spec)
        assert child(deployment, "Deployment", "llama-replica")["spec"]["replicas"] == replicas
        assert child(deployment, "Deployment", "llama-balancer")["spec"]["replicas"] == balancers


def test_selectors_select_the_pods_and_balancers_look_for_replicas() -> None:
    deployment = live(podTemplate={"labels": {labels.DEPLOYMENT: "stolen", "team": "a"}})
    for name in ("llama-replica", "llama-balancer"):
        spec = child(deployment, "Deployment", name)["spec"]
        pods = spec["template"]["metadata"]["labels"].items()
        assert spec["selector"]["matchLabels"].items() <= pods
        assert child(deployment, "PodDisruptionBudget", name)["spec"]["selector"]["matchLabels"].items() <= pods
    assert replica_pods(deployment)["metadata"]["labels"]["team"] == "a"
    arguments = child(deployment, "Deployment", "llama-balancer")["spec"]["template"]["spec"]["containers"][0]["args"]
    selector = dict(pair.split("=") for pair in arguments[arguments.index("--pods-selector") + 1].split(","))
    assert selector == child(deployment, "Deployment", "llama-replica")["spec"]["selector"]["matchLabels"]


def test_the_command_lines_are_ones_the_images_take() -> None:
    def parsed(command: Any, words: list[str]) -> argparse.Namespace:
        parser = argparse.ArgumentParser(allow_abbrev=False)
        command.add_arguments(parser)
        return parser.parse_args(words[1:])

    deployment = live(podTemplate={"terminationGracePeriodSeconds": 60})
    engine = replica_pods(deployment)["spec"]["containers"][0]
    server = from_namespace(ServerConfig, parsed(serve, engine["args"]))
    assert (server.host, server.port, server.grace_seconds) == ("0.0.0.0", 8000, 50)
    assert engine["lifecycle"] == {"preStop": {"sleep": {"seconds": 5}}}
    pods = child(deployment, "Deployment", "llama-balancer")["spec"]["template"]["spec"]
    config = from_namespace(BalancerConfig, parsed(balance, pods["containers"][0]["args"]))
    assert (config.namespace, config.balancers, config.grace_seconds, config.hold_seconds) == ("models", 2, 60, 60)
    asleep = live(autoscaling={"minReplicas": 0, "maxReplicas": 2, "prometheus": {"url": "http://p"}})
    pods = child(asleep, "Deployment", "llama-balancer")["spec"]["template"]["spec"]
    assert from_namespace(BalancerConfig, parsed(balance, pods["containers"][0]["args"])).hold_seconds == 600


@pytest.mark.parametrize("total", [1, 2, 3, 4, 7, 19, 20, 60, 3600])
def test_the_grace_is_divided_without_rest_and_mostly_for_running_requests(total: int) -> None:
    time = divide(total)
    assert time.notice_seconds + time.finish_seconds + time.margin_seconds == total
    assert time.finish_seconds >= total / 2
    assert min(time) >= 0


def test_a_balancer_outlives_the_replicas_whose_streams_it_carries() -> None:
    for total in (1, 30, 600):
        deployment = live(podTemplate={"terminationGracePeriodSeconds": total})
        ours = replica_pods(deployment)["spec"]["terminationGracePeriodSeconds"]
        pods = child(deployment, "Deployment", "llama-balancer")["spec"]["template"]["spec"]
        assert pods["terminationGracePeriodSeconds"] > ours == total


@pytest.mark.parametrize("name", ["llama-replica", "llama-balancer"])
def test_pods_keep_the_restricted_standard(name: str) -> None:
    pods = child(live(), "Deployment", name)["spec"]["template"]["spec"]
    assert pods["securityContext"]["runAsNonRoot"] is True
    assert pods["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pods["containers"]:
        security = container["securityContext"]
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert (security["readOnlyRootFilesystem"], security["allowPrivilegeEscalation"]) == (True, False)


def test_only_balancers_may_ask_the_api_server_and_only_for_pods() -> None:
    assert replica_pods(live())["spec"]["automountServiceAccountToken"] is False
    (rule,) = child(live(), "Role")["rules"]
    assert rule == {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}
    binding = child(live(), "RoleBinding")
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "llama-balancer", "namespace": "models"}]
    assert binding["roleRef"]["name"] == child(live(), "Role")["metadata"]["name"]


def test_a_gpu_is_asked_for_where_the_engine_wants_one() -> None:
    def resources(**spec: Any) -> Any:
        return replica_pods(live(**spec))["spec"]["containers"][0].get("resources")

    assert resources() is None
    assert resources(engine={"device": "cuda"}) == {"limits": {"nvidia.com/gpu": "1"}}
    own = {"limits": {"nvidia.com/mig-1g.5gb": 1, "memory": "16Gi"}, "requests": {"cpu": "500m"}}
    assert resources(engine={"device": "cuda"}, resources=own) == {
        "limits": {"nvidia.com/mig-1g.5gb": "1", "memory": "16Gi"},
        "requests": {"cpu": "500m"},
    }


def test_a_replica_with_a_limit_of_cores_runs_that_many_threads() -> None:
    env = replica_pods(live(resources={"limits": {"cpu": 4}}))["spec"]["containers"][0]["env"]
    assert {"resource": "limits.cpu", "divisor": "1"} in [e.get("valueFrom", {}).get("resourceFieldRef") for e in env]


def test_keys_that_nobody_checks_are_refused_rather_than_ignored() -> None:
    with pytest.raises(CannotRunError, match="checks no API keys") as caught:
        desired(live(tenants={"secretRef": {"name": "keys"}}), OBSERVED)
    assert caught.value.reason == "TenantsUnsupported"


def test_a_manifest_from_a_file_is_not_taken_for_a_live_object() -> None:
    deployment = live()
    of_file = deployment.model_copy(update={"metadata": deployment.metadata.model_copy(update={"namespace": None})})
    with pytest.raises(ValueError, match="has no namespace"):
        desired(of_file, OBSERVED)
