"""What is known of the cluster, whatever the order in which news arrive."""

from __future__ import annotations

from typing import Any

import pytest

from fastgen.contract import labels
from fastgen_operator.api.kinds import PODS, kind_of
from fastgen_operator.changes import Ref
from fastgen_operator.key import Key
from fastgen_operator.store import Store
from fastgen_operator.view import View

KEY = Key("models", "llama")
SERVICE = kind_of("v1", "Service")


def deployment(version: int, *, generation: int = 1, uid: str = "u-1", **more: Any) -> dict[str, Any]:
    metadata = {"name": "llama", "namespace": "models", "uid": uid, "resourceVersion": str(version)}
    return {
        "apiVersion": labels.API_VERSION,
        "kind": labels.KIND,
        "metadata": {**metadata, "generation": generation, "managedFields": ["noise"], **more.pop("metadata", {})},
        "spec": {"model": {"source": "hf://org/model"}, **more.pop("spec", {})},
        **more,
    }


def service(version: int, *, name: str = "llama", uid: str = "s-1", **metadata: Any) -> dict[str, Any]:
    marks = {labels.MANAGED_BY: labels.FIELD_MANAGER, labels.DEPLOYMENT: "llama"}
    kept = {"name": name, "namespace": "models", "uid": uid, "resourceVersion": str(version), "labels": marks}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {**kept, **metadata}}


def pod(name: str, version: int, *, component: str = "replica", ready: bool = True, **metadata: Any) -> dict[str, Any]:
    found = labels.object_labels("llama", component)
    kept = {"name": name, "namespace": "models", "uid": name, "resourceVersion": str(version), "labels": found}
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": str(ready)}]}
    return {"metadata": {**kept, "creationTimestamp": "2026-01-01T00:00:00Z", **metadata}, "status": status}


class Heard:
    """A store, and whom it woke."""

    def __init__(self) -> None:
        self.woken: list[Key] = []
        self.store = Store(self.woken.append)

    def names(self) -> list[str]:
        return sorted(ref.name for ref in self.store.children_of(KEY))


def test_news_wake_the_deployment_they_are_about() -> None:
    heard = Heard()
    heard.store.deployments.put(deployment(1))
    heard.store.table(SERVICE).put(service(2))
    heard.store.table(PODS).put(pod("p", 3))
    assert heard.woken == [KEY] * 3
    assert heard.store.keys() == [KEY]


def test_old_news_and_the_same_news_are_no_news() -> None:
    heard = Heard()
    table = heard.store.table(SERVICE)
    table.put(service(5))
    heard.woken.clear()
    assert not table.put(service(5))
    assert not table.put(service(4, uid="older"))
    assert heard.woken == []
    assert table.put(service(6, uid="s-2"))
    table.drop(service(7, uid="s-1"))
    assert heard.store.children_of(KEY)[Ref("v1", "Service", "llama")]["metadata"]["uid"] == "s-2"


def test_a_list_takes_away_what_is_not_on_it_and_what_was_made_after_it_stays() -> None:
    heard = Heard()
    table = heard.store.table(SERVICE)
    for version, name in ((1, "gone"), (2, "there"), (9, "made-by-us-since")):
        table.put(service(version, name=name))
    table.replace("models", [service(2, name="there"), service(3, name="new")], "5")
    assert heard.names() == ["made-by-us-since", "new", "there"]
    table.replace("elsewhere", [], "50")
    assert len(heard.names()) == 3
    table.replace(None, [], "50")
    assert heard.names() == []
    assert heard.store.children_of(KEY) == {}


def test_a_child_is_its_owners_whatever_its_labels_say() -> None:
    heard = Heard()
    owner = {"apiVersion": labels.API_VERSION, "kind": labels.KIND, "name": "llama", "uid": "u-1", "controller": True}
    heard.store.table(SERVICE).put(service(1, labels={labels.DEPLOYMENT: "another"}, ownerReferences=[owner]))
    assert heard.names() == ["llama"]
    heard.store.table(SERVICE).put(service(2, labels={labels.DEPLOYMENT: "another"}))
    assert heard.names() == []
    assert heard.woken[-2:] == [Key("models", "another"), KEY] or heard.woken[-2:] == [KEY, Key("models", "another")]


def test_a_deployment_that_is_being_deleted_is_nobodys_business() -> None:
    heard = Heard()
    heard.store.deployments.put(deployment(1))
    heard.store.deployments.put(deployment(2, metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}))
    assert heard.store.known(KEY) is None
    assert heard.store.keys() == []
    heard.store.deployments.drop(deployment(3))
    assert heard.store.status(KEY) is None


@pytest.mark.parametrize("status", [{}, {"observedGeneration": "seven"}, {"strange": True}])
def test_a_status_that_cannot_be_understood_is_none(status: dict[str, Any]) -> None:
    heard = Heard()
    heard.store.deployments.put(deployment(1, status=status))
    assert heard.store.status(KEY) is None
    known = heard.store.known(KEY)
    assert known is not None
    assert known.deployment is not None


def test_a_wrong_manifest_is_known_with_what_is_wrong_until_it_is_corrected() -> None:
    heard = Heard()
    heard.store.deployments.put(deployment(1, spec={"replicas": "many"}))
    known = heard.store.known(KEY)
    assert known is not None
    assert known.deployment is None
    assert "spec.replicas" in str(known.wrong)
    heard.store.deployments.put(deployment(2, generation=2))
    corrected = heard.store.known(KEY)
    assert corrected is not None
    assert corrected.wrong is None


def test_a_manifest_that_sets_off_a_bug_is_wrong_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(*_: object) -> None:
        raise RecursionError("too deep")

    monkeypatch.setattr("fastgen_operator.store.parse_manifest", stumble)
    heard = Heard()
    heard.store.deployments.put(deployment(1))
    known = heard.store.known(KEY)
    assert known is not None
    assert known.deployment is None
    assert "a bug of the operator (RecursionError: too deep)" in str(known.wrong)


def test_the_manifest_is_parsed_once_for_each_generation() -> None:
    heard = Heard()
    heard.store.deployments.put(deployment(1))
    first = heard.store.known(KEY)
    heard.store.deployments.put(deployment(2, status={}))
    second = heard.store.known(KEY)
    assert first is not None
    assert second is not None
    assert second.deployment is first.deployment
    assert second.raw["metadata"]["resourceVersion"] == "2"
    assert "managedFields" not in second.raw["metadata"]


def test_the_autoscaler_sees_pods_in_numbers() -> None:
    heard = Heard()
    view = View(heard.store)
    heard.store.deployments.put(deployment(1, spec={"replicas": 4}))
    for found in (
        pod("ready", 2),
        pod("late", 3, ready=False),
        pod("leaving", 4, deletionTimestamp="2026-01-01T00:00:00Z"),
        pod("balancer", 5, component="balancer"),
    ):
        heard.store.pods.put(found)
    assert view.workload(KEY) == (4, 1, 1, 1)
    assert view.version(KEY) == "1"
    assert view.workload(Key("models", "nobody")) == (0, 0, 0, 0)
    assert view.deployment(Key("models", "nobody")) is None
