"""The operator may do what it does, and nothing more: take away any right, and something it does is refused."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from chart_operator import USER, running_operator
from chart_rights import WRITES, Asked, Grant, Replay, asked_by, grants_of, samples, users_without
from chart_tools import RELEASE, SYSTEM, Helm, Json
from cluster_namespace import Namespace, api_client, until

from fastgen.contract import labels
from fastgen_devcluster.cluster import DevCluster

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
NAMESPACES = ("rights", "replay", "replay-with-role")
CHILDREN = {
    "persistentvolumeclaims": "v1", "serviceaccounts": "v1", "services": "v1", "deployments": "apps/v1",
    "roles": "rbac.authorization.k8s.io/v1", "rolebindings": "rbac.authorization.k8s.io/v1",
    "poddisruptionbudgets": "policy/v1", "servicemonitors": "monitoring.coreos.com/v1",
}  # fmt: skip
"""What the operator makes, and where it is."""
POD = {"containers": [{"name": "c", "image": "none"}]}
LEFT_OVER: dict[str, Json] = {
    "PersistentVolumeClaim": {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1"}}}},
    "ServiceAccount": {},
    "Service": {"spec": {"ports": [{"port": 1}]}},
    "Deployment": {
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"x": "y"}},
            "template": {"metadata": {"labels": {"x": "y"}}, "spec": POD},
        }
    },
    "Role": {"rules": []},
    "RoleBinding": {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "none"}},
    "PodDisruptionBudget": {"spec": {"selector": {"matchLabels": {"x": "y"}}}},
    "ServiceMonitor": {"spec": {"selector": {}, "endpoints": []}},
}
"""What an older version may have made under names that this one does not use."""


def manifest(namespace: str) -> Json:
    """A cache, so that there is a claim; more replicas wanted than asked for, so that `scale` is written."""
    return {
        "apiVersion": labels.API_VERSION,
        "kind": labels.KIND,
        "metadata": {"name": "llama", "namespace": namespace},
        "spec": {
            "model": {"source": "hf://a/b", "cache": {"size": "1Gi"}},
            "autoscaling": {"minReplicas": 2, "maxReplicas": 3, "prometheus": {"url": "http://127.0.0.1:9"}},
        },
    }


def left_over(owner: Json) -> list[Json]:
    """One object of each kind, which belongs to the deployment and which nothing asks for."""
    reference = {key: owner[key] for key in ("apiVersion", "kind")} | {"controller": True}
    reference |= {key: owner["metadata"][key] for key in ("name", "uid")}
    metadata = {
        "name": "left-over",
        "namespace": owner["metadata"]["namespace"],
        "labels": labels.object_labels(owner["metadata"]["name"], labels.COMPONENT_REPLICA),
        "ownerReferences": [reference],
    }
    return [
        {"apiVersion": version, "kind": kind, "metadata": metadata, **LEFT_OVER[kind]}
        for version, kind in zip(CHILDREN.values(), _kinds(), strict=True)
    ]


def _kinds() -> list[str]:
    by_plural = {f"{kind.lower()}s": kind for kind in LEFT_OVER}
    return [by_plural[plural] for plural in CHILDREN]


def without_owner(thing: Json | None) -> Json:
    """Whose owner is not there would be taken away at once."""
    assert thing is not None
    return {**thing, "metadata": {key: value for key, value in thing["metadata"].items() if key != "ownerReferences"}}


def make(cluster: DevCluster, objects: list[Json]) -> None:
    items = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    cluster.kubectl("create", "--filename", "-", input=items)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("operator")


class Life(NamedTuple):
    """Everything the operator asked in the life of a deployment, and what it may do."""

    asked: list[Asked]
    roles: list[Json]
    grants: list[Grant]


@pytest.fixture(scope="module")
def life(cluster: DevCluster, folder: Path) -> Iterator[Life]:
    """From the first apply to a restart, with everything in between that an operator has to write."""
    helm = Helm(cluster, folder)
    until(lambda: nothing_runs(cluster), "the operators of tests before have ended", 60)
    cluster.kubectl("delete", "leases", "--all", "--namespace", SYSTEM)
    begin = len(asked_by(cluster.audit_log, USER))
    helm.install({"replicas": 0})
    for name in NAMESPACES:
        cluster.kubectl("create", "namespace", name)
    with api_client(cluster) as api:
        rights = Namespace(cluster, "rights", api)
        with running_operator(cluster, folder):
            live_through(cluster, rights)
        with running_operator(cluster, folder):
            pass
        cluster.kubectl("delete", labels.PLURAL, "--all", "--namespace", "rights")
    roles = [each for each in helm.template({"replicas": 0}) if is_operators_role(each)]
    asked = asked_by(cluster.audit_log, USER)[begin:]
    yield Life(asked, roles, [grant for role in roles for grant in grants_of(role)])
    helm.uninstall()
    cluster.kubectl("delete", "crd", f"{labels.PLURAL}.{labels.GROUP}")
    cluster.kubectl("delete", "namespace", *NAMESPACES, "--wait=false")


def nothing_runs(cluster: DevCluster) -> bool:
    """One that is told to end releases its Lease, when its rights may be gone already."""
    return not cluster.kubectl("get", "pods", "--namespace", SYSTEM, "--output=name")


def is_operators_role(thing: Json) -> bool:
    return thing["kind"] in ("Role", "ClusterRole") and thing["metadata"]["name"].startswith(RELEASE)


def live_through(cluster: DevCluster, rights: Namespace) -> None:
    make(cluster, [manifest(rights.name)])
    until(lambda: rights.get("FastGenDeployment", "llama")["spec"]["replicas"] == 2, "it is scaled", 30)
    until(lambda: rights.find("Deployment", "llama-replica"), "its replicas exist", 30)
    make(cluster, left_over(rights.get("FastGenDeployment", "llama")))
    until(lambda: "left-over" not in names_of(rights), "what is left over is removed", 30)
    for plural in CHILDREN:
        first = rights.kubectl("get", plural, "--selector", f"{labels.DEPLOYMENT}=llama", "--output=name").split()[0]
        rights.kubectl("label", "--overwrite", first, f"{labels.COMPONENT}=wrong")
    until(lambda: "wrong" not in components_of(rights), "what was changed is put back", 30)


def names_of(namespace: Namespace) -> str:
    return namespace.kubectl("get", ",".join(CHILDREN), "--output=jsonpath={.items[*].metadata.name}")


def components_of(namespace: Namespace) -> str:
    return namespace.kubectl("get", ",".join(CHILDREN), "--output=json").count('"wrong"') * "wrong"


def test_nothing_the_operator_asks_for_is_refused(life: Life) -> None:
    assert [asked for asked in life.asked if asked.code in (401, 403)] == []


def test_no_right_is_for_everything_and_none_reaches_a_secret(life: Life) -> None:
    assert life.grants
    for grant in life.grants:
        assert "*" not in (grant.group, grant.resource, grant.verb)
        assert grant.resource not in ("secrets", "configmaps", "nodes", "pods/exec", "clusterroles")


@pytest.fixture(scope="module")
def refused(cluster: DevCluster, life: Life) -> Iterator[dict[Grant, set[str]]]:
    """For each right: what is refused to somebody who has all others."""
    requests = samples(life.asked)
    users = users_without(cluster, life.roles, life.grants, SYSTEM)
    with (
        contextlib.closing(Replay(cluster, "rights", "replay")) as replay,
        contextlib.closing(Replay(cluster, "rights", "replay-with-role")) as beside_role,
    ):
        make(cluster, [manifest("replay")])
        make(cluster, [without_owner(beside_role.moved(requests["patch roles"].body))])

        def is_refused(what: str, user: str) -> bool:
            # Binding a role that is not there fails for another reason.
            where = beside_role if requests[what].resource == "rolebindings" else replay
            return where.is_forbidden(requests[what], user)

        def refused_to(user: str, grant: Grant) -> set[str]:
            near = {what for what, asked in requests.items() if asked.resource == grant.resource}
            writes = {what for what, asked in requests.items() if asked.verb in WRITES}
            return {what for what in near | writes if is_refused(what, user)}

        for user, grant in zip(users, [*life.grants, None], strict=True):
            others = {"list services", "get leases"} - {grant and f"{grant.verb} {grant.resource}"}
            # The API server learns of roles within a moment.
            until(lambda user=user, others=others: not any(is_refused(what, user) for what in others), user, 20)
        assert [what for what in requests if is_refused(what, users[-1])] == []
        yield {grant: refused_to(user, grant) for grant, user in zip(life.grants, users, strict=False)}


def test_without_any_one_right_something_is_refused(refused: dict[Grant, set[str]]) -> None:
    """Each request of the operator's life is made again by somebody who lacks one right and has all others."""
    for grant, what in sorted(refused.items()):
        print(f"without {grant!s:<60} refused: {', '.join(sorted(what)) or 'NOTHING'}")
    assert [str(grant) for grant, what in refused.items() if not what] == []


INDIRECT = {("pods", "list"), ("pods", "watch"), (f"{labels.PLURAL}/finalizers", "update")}


def test_a_right_that_is_asked_for_by_name_is_for_that_request_alone(refused: dict[Grant, set[str]]) -> None:
    for grant, what in refused.items():
        if (grant.resource, grant.verb) not in INDIRECT:
            # To apply what is not there is to make it.
            verb = "patch" if grant.verb == "create" and grant.resource in CHILDREN else grant.verb
            assert what == {f"{verb} {grant.resource}"}, grant


def test_rights_that_nothing_asks_for_by_name_are_needed_all_the_same(refused: dict[Grant, set[str]]) -> None:
    """What applies makes what is not there; who grants must have; who holds up a deletion must be allowed to."""
    what = {(grant.resource, grant.verb): found for grant, found in refused.items()}
    assert what["services", "create"] == {"patch services"}
    assert what["pods", "list"] == {"list pods", "patch roles", "patch rolebindings"}
    assert what[f"{labels.PLURAL}/finalizers", "update"] == {f"patch {plural}" for plural in CHILDREN}
