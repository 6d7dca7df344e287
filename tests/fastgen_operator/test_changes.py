"""What is done, from what should be, what is, and what was done before."""

from __future__ import annotations

from typing import Any

import pytest
from live_objects import OBSERVED, live

from fastgen.contract import labels
from fastgen_operator.changes import Applied, Plan, Ref, plan_changes, ref_of
from fastgen_operator.desired import KubeObject, desired
from fastgen_operator.desired.common import hash_of
from fastgen_operator.ownership import Edit, edits_of

UID = "u-1"
FIELDS: dict[str, Any] = {"f:spec": {"f:replicas": {}, "f:selector": {}}}
WANTED = desired(live(), OBSERVED)
REF = Ref("v1", "Service", "llama")
ALL = {ref_of(content) for content in WANTED}


def there(content: KubeObject, **metadata: Any) -> KubeObject:
    """As the API server has it after our apply."""
    mine = {"manager": "fastgen-operator", "operation": "Apply", "fieldsV1": FIELDS}
    kept = {"uid": f"uid-{content['metadata']['name']}", "managedFields": [mine]}
    return {**content, "metadata": {**content["metadata"], **kept, **metadata}}


def cluster(**changed: Any) -> dict[Ref, KubeObject]:
    """All there is; `changed` is metadata of the Service REF."""
    found = {ref_of(content): there(content) for content in WANTED}
    found[REF] = there(found[REF], **changed)
    return found


def memory(wanted: list[KubeObject] = WANTED) -> dict[Ref, Applied]:
    return {ref_of(each): Applied(hash_of(each), there(each)["metadata"]["uid"], FIELDS) for each in wanted}


def plan(live_objects: dict[Ref, Any], remembered: dict[Ref, Applied], wanted: list[KubeObject] = WANTED) -> Plan:
    return plan_changes(wanted, live_objects, remembered, UID)


def test_where_all_is_well_nothing_is_done() -> None:
    assert plan(cluster(), memory()) == Plan()


def test_what_is_missing_is_made_in_the_order_of_desired() -> None:
    made = plan({}, {})
    assert [apply.ref for apply in made.applies] == [ref_of(content) for content in WANTED]
    assert {(apply.why, apply.uid, apply.was_known) for apply in made.applies} == {("missing", None, False)}


def test_after_a_restart_everything_is_applied_once() -> None:
    made = plan(cluster(), {})
    assert {apply.why for apply in made.applies} == {"new"}
    assert {apply.uid for apply in made.applies} == {thing["metadata"]["uid"] for thing in cluster().values()}


def test_another_manifest_changes_only_what_it_is_about() -> None:
    wanted = desired(live(balancer={"service": {"port": 8443}}), OBSERVED)
    assert [(apply.ref, apply.why) for apply in plan(cluster(), memory(), wanted).applies] == [(REF, "changed")]


def test_a_field_that_somebody_took_is_a_drift() -> None:
    lost = {"manager": "fastgen-operator", "operation": "Apply", "fieldsV1": {"f:spec": {"f:selector": {}}}}
    taken = {"manager": "kubectl-edit", "operation": "Update", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
    (apply,) = plan(cluster(managedFields=[lost, taken]), memory()).applies
    assert (apply.ref, apply.why, apply.edits) == (REF, "drifted", ())
    (nothing_left,) = plan(cluster(managedFields=[]), memory()).applies
    assert nothing_left.why == "drifted"


def test_a_field_that_somebody_added_is_a_drift_unless_it_was_there_after_our_apply() -> None:
    mine = there(WANTED[0])["metadata"]["managedFields"][0]
    added = {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:spec": {"f:externalName": {}}}}
    found = cluster(managedFields=[mine, added])
    (apply,) = plan(found, memory()).applies
    assert (apply.why, apply.edits) == ("drifted", (Edit(("spec", "externalName"), "kubectl"),))
    tolerated = memory()
    tolerated[REF] = tolerated[REF]._replace(tolerated=edits_of(found[REF], FIELDS))
    assert plan(found, tolerated) == Plan()


def test_a_deleted_object_is_made_again_and_another_of_its_name_is_applied_to_as_new() -> None:
    without = {ref: thing for ref, thing in cluster().items() if ref != REF}
    (apply,) = plan(without, memory()).applies
    assert (apply.ref, apply.why, apply.was_known) == (REF, "missing", True)
    (again,) = plan(cluster(uid="another"), memory()).applies
    assert (again.why, again.uid) == ("new", "another")


@pytest.mark.parametrize(
    ("owners", "marks", "standing"),
    [
        ([], {}, "foreign"),
        ([], {labels.MANAGED_BY: "fastgen-operator"}, "foreign"),
        ([], {labels.MANAGED_BY: "fastgen-operator", labels.DEPLOYMENT: "another"}, "foreign"),
        ([], {labels.MANAGED_BY: "fastgen-operator", labels.DEPLOYMENT: "llama"}, "adopted"),
        ([{"kind": "Helm", "name": "x", "uid": "h", "controller": True}], {}, "foreign"),
        ([{"kind": "FastGenDeployment", "name": "llama", "uid": "old", "controller": True}], {}, "leaving"),
        ([{"kind": "FastGenDeployment", "name": "other", "uid": "o", "controller": True}], {}, "foreign"),
        ([{"kind": "FastGenDeployment", "name": "llama", "uid": UID, "controller": True}], {}, "ours"),
        ([{"kind": "FastGenDeployment", "name": "llama", "uid": UID}], {}, "foreign"),
    ],
)
def test_an_object_of_that_name_is_touched_only_where_it_is_ours(
    owners: list[Any], marks: dict[str, str], standing: str
) -> None:
    made = plan(cluster(ownerReferences=owners, labels=marks), memory())
    assert [(each.ref, standing) for each in made.foreign] == ([(REF, standing)] if standing == "foreign" else [])
    assert made.leaving == ((REF,) if standing == "leaving" else ())
    assert [apply.why for apply in made.applies] == (["adopted"] if standing == "adopted" else [])
    assert made.prunes == ()


def test_what_is_being_deleted_is_waited_for() -> None:
    made = plan(cluster(deletionTimestamp="2026-01-01T00:00:00Z"), memory())
    assert (made.applies, made.leaving, made.prunes) == ((), (REF,), ())


def test_what_is_not_wanted_any_more_goes_if_it_is_ours() -> None:
    cached = desired(live(model={"cache": {"size": "1Gi"}}), OBSERVED)
    (claim,) = [content for content in cached if content["kind"] == "PersistentVolumeClaim"]
    stranger = there({**claim, "metadata": {**claim["metadata"], "name": "x", "ownerReferences": []}})
    found = {**cluster(), ref_of(claim): there(claim), ref_of(stranger): stranger}
    made = plan(found, memory(cached))
    assert [(prune.ref.name, prune.uid) for prune in made.prunes] == [
        (claim["metadata"]["name"], f"uid-{claim['metadata']['name']}")
    ]
    leaving = {**found, ref_of(claim): there(claim, deletionTimestamp="2026-01-01T00:00:00Z")}
    assert plan(leaving, memory(cached)).prunes == ()
