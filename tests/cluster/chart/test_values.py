"""Every value does something, and what it makes passes the API server's strict validation; others are refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from chart_tools import CHART, Helm, server_side_dry_run

from fastgen_devcluster.cluster import DevCluster

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
Json = dict[str, Any]
DIGEST = "sha256:" + "0123456789abcdef" * 4


class Toggle(NamedTuple):
    """Values that differ from the defaults, and what they presuppose."""

    name: str
    values: Json
    given: Json = {}


def affinity() -> Json:
    term = {"matchExpressions": [{"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}


SPREAD = {
    "maxSkew": 1,
    "topologyKey": "topology.kubernetes.io/zone",
    "whenUnsatisfiable": "DoNotSchedule",
    "labelSelector": {"matchLabels": {"app.kubernetes.io/name": "fastgen-operator"}},
}
MONITOR, RULE = {"serviceMonitor": {"enabled": True}}, {"prometheusRule": {"enabled": True}}
DASHBOARDS: Json = {"dashboards": {"enabled": True}}
TOGGLES = [
    Toggle("a name", {"fullnameOverride": "llm"}),
    Toggle("the operator's image", {"images": {"operator": {"repository": "registry:5000/fastgen/operator"}}}),
    Toggle("its tag", {"images": {"operator": {"tag": "1.2.3"}}}),
    Toggle("its digest", {"images": {"operator": {"digest": DIGEST}}}),
    Toggle("pull policy", {"images": {"operator": {"pullPolicy": "Always"}}}),
    Toggle("the serving image", {"images": {"serving": {"repository": "ghcr.io/someone/serving"}}}),
    Toggle("the serving tag", {"images": {"serving": {"tag": "1.2.3"}}}),
    Toggle("the serving digest", {"images": {"serving": {"digest": DIGEST}}}),
    Toggle("pull secrets", {"imagePullSecrets": [{"name": "registry"}]}),
    Toggle("two operators", {"replicas": 2}),
    Toggle("some namespaces", {"watchNamespaces": ["team-a", "team-b"]}),
    Toggle("resync", {"resyncSeconds": 60}),
    Toggle("scaling interval", {"scalingIntervalSeconds": 2.5}),
    Toggle("log for people", {"log": {"format": "text", "level": "debug"}}),
    Toggle("no definition", {"crds": {"install": False}}),
    Toggle("a definition that goes", {"crds": {"keep": False}}),
    Toggle("no roles", {"rbac": {"create": False}}),
    Toggle("no user roles", {"rbac": {"userRoles": False}}),
    Toggle("somebody's account", {"serviceAccount": {"create": False, "name": "mine"}}),
    Toggle("an account with a name", {"serviceAccount": {"name": "mine", "annotations": {"cloud/role": "x"}}}),
    Toggle("no scrape annotations", {"metrics": {"annotations": False}}),
    Toggle("ServiceMonitor", {"metrics": MONITOR}),
    Toggle(
        "ServiceMonitor in detail",
        {"metrics": {"serviceMonitor": {"labels": {"release": "p"}, "interval": "5s"}}},
        {"metrics": MONITOR},
    ),
    Toggle("PrometheusRule", {"metrics": RULE}),
    Toggle("its labels", {"metrics": {"prometheusRule": {"labels": {"release": "p"}}}}, {"metrics": RULE}),
    Toggle("dashboards", {"metrics": DASHBOARDS}),
    Toggle(
        "dashboards in detail",
        {"metrics": {"dashboards": {"labels": {"grafana": "yes"}, "annotations": {"grafana_folder": "FastGen"}}}},
        {"metrics": DASHBOARDS},
    ),
    Toggle("NetworkPolicy", {"networkPolicy": {"enabled": True}}),
    Toggle(
        "NetworkPolicy in detail",
        {
            "networkPolicy": {
                "from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
                "egress": [{"ports": [{"port": 443, "protocol": "TCP"}]}],
            }
        },
        {"networkPolicy": {"enabled": True}},
    ),
    Toggle("no disruption budget", {"podDisruptionBudget": {"enabled": False}}, {"replicas": 2}),
    Toggle("pod labels", {"podLabels": {"team": "llm"}}),
    Toggle("pod annotations", {"podAnnotations": {"example.com/asked": "yes"}}),
    Toggle("environment", {"env": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}]}),
    Toggle("resources", {"resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}),
    Toggle("pod security", {"podSecurityContext": {"runAsUser": 20000, "supplementalGroups": [7]}}),
    Toggle("container security", {"securityContext": {"runAsUser": 20000}}),
    Toggle("grace", {"terminationGracePeriodSeconds": 5}),
    Toggle("priority", {"priorityClassName": "system-cluster-critical"}),
    Toggle("nodes", {"nodeSelector": {"kubernetes.io/os": "linux"}}),
    Toggle("tolerations", {"tolerations": [{"key": "infra", "operator": "Exists", "effect": "NoSchedule"}]}),
    Toggle("affinity", {"affinity": affinity()}),
    Toggle("spread", {"topologySpreadConstraints": [SPREAD]}),
]


@pytest.fixture(scope="module")
def helm(cluster: DevCluster, tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """In a namespace with the accounts that pods need to be judged at all."""
    for name in ("fastgen-operator", "llm", "mine"):
        cluster.kubectl("create", "serviceaccount", name, "--namespace", "rendered")
    return Helm(cluster, tmp_path_factory.mktemp("values"), namespace="rendered")


def merged(base: Json, over: Json) -> Json:
    """As helm lays one values file over another."""
    found = dict(base)
    for name, value in over.items():
        found[name] = merged(found[name], value) if isinstance(found.get(name), dict) else value
    return found


def leaves(schema: Json, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, inner in schema["properties"].items():
        if "properties" in inner:
            yield from leaves(inner, (*path, name))
        elif name != "global":
            yield (*path, name)


def holds(values: Any, path: tuple[str, ...]) -> bool:
    return not path or (isinstance(values, dict) and path[0] in values and holds(values[path[0]], path[1:]))


def test_no_value_is_left_out_here() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    tried = [merged(toggle.given, toggle.values) for toggle in TOGGLES]
    assert [path for path in leaves(schema) if not any(holds(values, path) for values in tried)] == []


def test_lint_has_nothing_to_say(cluster: DevCluster) -> None:
    assert "0 chart(s) failed" in cluster.helm("lint", "--strict", str(CHART))


def test_the_defaults_are_what_an_api_server_takes(cluster: DevCluster, helm: Helm) -> None:
    assert "arning" not in server_side_dry_run(cluster, helm.template({}))


@pytest.mark.parametrize("toggle", TOGGLES, ids=lambda toggle: toggle.name)
def test_a_value_does_something_that_the_api_server_takes(cluster: DevCluster, helm: Helm, toggle: Toggle) -> None:
    objects = helm.template(merged(toggle.given, toggle.values))
    assert objects != helm.template(toggle.given)
    assert "arning" not in server_side_dry_run(cluster, objects)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"replica": 2}, "additional properties 'replica' not allowed"),
        ({"images": {"operator": {"name": "x"}}}, "additional properties 'name' not allowed"),
        ({"metrics": {"serviceMonitor": {"enable": True}}}, "additional properties 'enable' not allowed"),
        ({"replicas": "2"}, "got string, want integer"),
        ({"replicas": 7}, "maximum: got 7, want 5"),
        ({"log": {"level": "loud"}}, "value must be one of 'debug', 'info', 'warning', 'error'"),
        ({"images": {"operator": {"repository": "fastgen/operator:1.0"}}}, "does not match pattern"),
        ({"images": {"serving": {"digest": "0123"}}}, "does not match pattern"),
        ({"watchNamespaces": ["Team A"]}, "does not match pattern"),
        ({"watchNamespaces": ["a", "a"]}, "are equal"),
        ({"imagePullSecrets": ["registry"]}, "got string, want object"),
        ({"scalingIntervalSeconds": 0}, "minimum: got 0, want 0.5"),
        ({"metrics": {"serviceMonitor": {"interval": "soon"}}}, "does not match pattern"),
        ({"fullnameOverride": "Llm"}, "does not match pattern"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else None,
)
def test_a_wrong_value_is_refused_and_named(helm: Helm, values: Json, complaint: str) -> None:
    refusal = helm.refusal(values)
    assert complaint in refusal
    assert next(iter(values)) in refusal
