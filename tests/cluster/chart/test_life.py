"""Install, upgrade, uninstall: what helm promises, and what people fear of a CustomResourceDefinition in a chart."""

from __future__ import annotations

import contextlib
import json
import shutil
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from chart_operator import USER
from chart_rights import asked_by
from chart_tools import CHART, RELEASE, SYSTEM, Helm, Json
from cluster_namespace import until

from fastgen.contract import labels
from fastgen_devcluster.cluster import DevCluster
from fastgen_devcluster.errors import DevClusterError

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
CRD = f"{labels.PLURAL}.{labels.GROUP}"
WAIT = ("--wait", "--timeout", "120s")
QUICK: Json = {"scalingIntervalSeconds": 2, "log": {"format": "text"}}


@contextlib.contextmanager
def released(cluster: DevCluster, folder: Path) -> Iterator[Helm]:
    """One release, which is gone afterwards with all it leaves."""
    yield Helm(cluster, folder)
    cluster.helm("uninstall", RELEASE, "--namespace", SYSTEM, "--ignore-not-found", "--wait")
    cluster.kubectl("delete", "crd", CRD, "--ignore-not-found")
    until(lambda: not left_of(cluster), "nothing is left", 30)


@pytest.fixture
def helm(cluster: DevCluster, tmp_path: Path) -> Iterator[Helm]:
    with released(cluster, tmp_path) as made:
        yield made


def model(namespace: str) -> Json:
    """Asleep: children without pods."""
    return {
        "apiVersion": labels.API_VERSION,
        "kind": labels.KIND,
        "metadata": {"name": "llama", "namespace": namespace},
        "spec": {"model": {"source": "hf://a/b"}, "suspend": True},
    }


def apply(cluster: DevCluster, thing: Json) -> Json:
    cluster.kubectl("apply", "--filename", "-", input=json.dumps(thing))
    return model_in(cluster, thing["metadata"]["namespace"])


def model_in(cluster: DevCluster, namespace: str) -> Json:
    words = ("get", labels.PLURAL, "llama", "--namespace", namespace, "--output=json")
    found: Json = json.loads(cluster.kubectl(*words))
    return found


def has_children(cluster: DevCluster, namespace: str) -> bool:
    return "service/llama\n" in cluster.kubectl("get", "services", "--namespace", namespace, "--output=name")


def left_of(cluster: DevCluster) -> list[str]:
    """Every object of a release, whatever its kind, but the definition."""
    found = []
    for scope in ("true", "false"):
        kinds = cluster.kubectl("api-resources", f"--namespaced={scope}", "--verbs=list", "--output=name").split()
        chosen = ",".join(kind for kind in kinds if not kind.startswith("events"))
        everywhere = ["--all-namespaces"] if scope == "true" else []
        found += cluster.kubectl(
            "get", chosen, *everywhere, "--selector=helm.sh/chart", "--output=name", "--ignore-not-found"
        ).split()
        releases = "--selector=owner=helm"
        found += cluster.kubectl("get", "secrets", "--namespace", SYSTEM, releases, "--output=name").split()
    return [name for name in found if not name.endswith(CRD)]


def asked_of_prometheus(cluster: DevCluster, query: str) -> list[Json]:
    url = f"{cluster.prometheus_url}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        found: list[Json] = json.load(answer)["data"]["result"]
    return found


def changed_chart(folder: Path) -> Path:
    """The next version: its definition has one more column."""
    chart = folder / "next"
    shutil.copytree(CHART, chart)
    file = chart / "files" / "fastgendeployments.yaml"
    definition = yaml.safe_load(file.read_text(encoding="utf-8"))
    column = {"name": "New", "type": "string", "jsonPath": ".spec.model.source"}
    definition["spec"]["versions"][0]["additionalPrinterColumns"].append(column)
    file.write_text(yaml.safe_dump(definition), encoding="utf-8")
    return chart


@pytest.fixture(scope="class")
def installed(cluster: DevCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Helm]:
    with released(cluster, tmp_path_factory.mktemp("release")) as made:
        notes = made.install(QUICK, *WAIT)
        assert f"helm test {RELEASE} --namespace {SYSTEM}" in notes
        yield made


class TestOneInstallation:
    """Tests in the order of its life."""

    def test_it_acts_where_pods_are_restricted_and_helm_test_says_so(
        self, cluster: DevCluster, installed: Helm
    ) -> None:
        assert "Succeeded" in installed.test()
        words = ("get", "lease", RELEASE, "--namespace", SYSTEM, "--output=jsonpath={.spec.holderIdentity}")
        holder = cluster.kubectl(*words)
        pods = cluster.kubectl("get", "pods", "--namespace", SYSTEM, "--output=name").split()
        assert [f"pod/{holder}"] == pods, "the pod of helm test is gone, and the operator's is the only one"

    def test_prometheus_finds_it_by_its_annotations(self, cluster: DevCluster, installed: Helm) -> None:
        found = until(lambda: asked_of_prometheus(cluster, "fastgen_operator_leader == 1"), "its series are there", 30)
        assert [series["metric"]["namespace"] for series in found] == [SYSTEM]
        assert found[0]["metric"]["pod"].startswith(RELEASE)
        # Exactly what the configuration lets through, and once.
        names = asked_of_prometheus(cluster, 'count by (__name__)({job="fastgen-operator",__name__!~"up|scrape_.+"})')
        assert all(series["metric"]["__name__"].startswith(("fastgen_operator_", "process_")) for series in names)
        assert len(asked_of_prometheus(cluster, 'up{job="fastgen-operator"}')) == 1

    def test_an_upgrade_upgrades_the_definition_too_and_leaves_models_alone(
        self, cluster: DevCluster, installed: Helm, tmp_path: Path
    ) -> None:
        before = apply(cluster, model("team-a"))
        installed.upgrade({**QUICK, "replicas": 2}, *WAIT, chart=changed_chart(tmp_path))
        assert "NEW" in cluster.kubectl("get", labels.PLURAL, "--namespace", "team-a").splitlines()[0]
        after = model_in(cluster, "team-a")
        assert (after["metadata"]["uid"], after["spec"]) == (before["metadata"]["uid"], before["spec"])
        deployment = json.loads(cluster.kubectl("get", "deployment", RELEASE, "--namespace", SYSTEM, "--output=json"))
        assert deployment["status"]["readyReplicas"] == 2, "one acts, the other is ready to"
        assert "Succeeded" in installed.test()

    def test_after_uninstall_models_stay_and_nothing_else(self, cluster: DevCluster, installed: Helm) -> None:
        before = model_in(cluster, "team-a")
        until(lambda: has_children(cluster, "team-a"), "the operator made its children", 30)
        installed.uninstall()
        until(lambda: not left_of(cluster), "nothing is left of the release", 30)
        assert has_children(cluster, "team-a"), "what serves goes on serving"
        installed.install({"replicas": 0})
        assert model_in(cluster, "team-a")["metadata"]["uid"] == before["metadata"]["uid"], "a new release finds them"

    def test_a_model_can_be_deleted_when_no_operator_runs(self, cluster: DevCluster, installed: Helm) -> None:
        cluster.kubectl("delete", labels.PLURAL, "llama", "--namespace", "team-a", "--timeout=20s")
        until(lambda: not has_children(cluster, "team-a"), "its children go with it", 60)


def test_a_definition_that_is_not_kept_goes_with_its_release(cluster: DevCluster, helm: Helm) -> None:
    helm.install({**QUICK, "replicas": 0, "crds": {"keep": False}})
    apply(cluster, model("team-a"))
    helm.uninstall()
    until(lambda: CRD not in cluster.kubectl("get", "crds", "--output=name"), "the definition is gone", 30)


def test_a_definition_made_by_hand_is_taken_over_once_one_says_so(cluster: DevCluster, helm: Helm) -> None:
    crds = Path(__file__).parents[3] / "crds" / "fastgendeployments.yaml"
    cluster.kubectl("apply", "--server-side", "--filename", str(crds))
    with pytest.raises(DevClusterError, match="invalid ownership metadata"):
        helm.install({"replicas": 0})
    helm.install({"replicas": 0}, "--take-ownership", "--force-conflicts")
    live = json.loads(cluster.kubectl("get", "crd", CRD, "--output=json"))
    assert live["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_the_definition_installed_is_the_one_generated(cluster: DevCluster, helm: Helm) -> None:
    generated = yaml.safe_load((CHART / "files" / "fastgendeployments.yaml").read_text(encoding="utf-8"))
    (rendered,) = [thing for thing in helm.template({}) if thing["kind"] == "CustomResourceDefinition"]
    assert rendered["spec"] == generated["spec"]


def test_with_watched_namespaces_the_operator_asks_for_nothing_outside_of_them(cluster: DevCluster, helm: Helm) -> None:
    helm.install({**QUICK, "watchNamespaces": ["team-a"]}, *WAIT)
    begin = len(asked_by(cluster.audit_log, USER))
    apply(cluster, model("team-a"))
    apply(cluster, model("team-b"))
    until(lambda: has_children(cluster, "team-a"), "the watched one has its children", 30)
    assert not has_children(cluster, "team-b")
    asked = asked_by(cluster.audit_log, USER)[begin:]
    assert asked
    assert [each for each in asked if each.code in (401, 403)] == []
    may_see = ("auth", "can-i", "list", labels.PLURAL, "--as", USER, "--namespace")
    assert cluster.kubectl(*may_see, "team-a").strip() == "yes"
    assert cluster.kubectl(*may_see, "team-b", check=False).strip() == "no"


@pytest.mark.parametrize(
    ("role", "verb", "allowed"),
    [
        ("view", "get", "yes"),
        ("view", "list", "yes"),
        ("view", "create", "no"),
        ("view", "delete", "no"),
        ("edit", "create", "yes"),
        ("edit", "patch", "yes"),
        ("edit", "delete", "yes"),
        ("admin", "update", "yes"),
    ],
)
def test_the_clusters_own_roles_reach_models(
    cluster: DevCluster, users: None, role: str, verb: str, allowed: str
) -> None:
    asked = ("auth", "can-i", verb, labels.PLURAL, "--as", f"a-{role}", "--namespace", "team-a")
    assert cluster.kubectl(*asked, check=False).strip() == allowed


def test_who_may_edit_may_scale_and_nobody_but_the_operator_writes_status(cluster: DevCluster, users: None) -> None:
    def may(who: str, verb: str, part: str) -> bool:
        asked = ("auth", "can-i", verb, labels.PLURAL, f"--subresource={part}", "--as", who, "--namespace", "team-a")
        return cluster.kubectl(*asked, check=False).strip() == "yes"

    assert may("a-edit", "patch", "scale")
    assert not may("a-view", "patch", "scale")
    assert may("a-view", "get", "scale")
    assert not may("a-edit", "patch", "status")
    assert not may("a-admin", "patch", "status")


@pytest.fixture(scope="module")
def users(cluster: DevCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Three people, each with one of the cluster's own roles in one namespace."""
    release = Helm(cluster, tmp_path_factory.mktemp("users"))
    release.install({"replicas": 0})
    roles = ("view", "edit", "admin")
    for role in roles:
        words = (f"a-{role}", f"--clusterrole={role}", f"--user=a-{role}", "--namespace", "team-a")
        cluster.kubectl("create", "rolebinding", *words)
    seen = ("auth", "can-i", "create", labels.PLURAL, "--as", "a-admin", "--namespace", "team-a")
    until(lambda: cluster.kubectl(*seen, check=False).strip() == "yes", "roles are aggregated", 20)
    yield
    cluster.kubectl("delete", "rolebinding", *(f"a-{role}" for role in roles), "--namespace", "team-a")
    release.uninstall()
    cluster.kubectl("delete", "crd", CRD)
