"""Whose a field is, by what a real API server recorded of it (kube-apiserver 1.36)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastgen_operator.ownership import Edit, edits_of, entries_worth_keeping, owned_fields, undo

LABELS: dict[str, Any] = {"f:metadata": {"f:labels": {"f:a": {}}}}
ENGINE = 'k:{"name":"engine"}'


def deployment(*entries: Mapping[str, Any]) -> dict[str, Any]:
    return {"kind": "Deployment", "metadata": {"name": "d", "managedFields": list(entries)}}


def entry(manager: str, fields: dict[str, Any], operation: str = "Update", subresource: str = "") -> dict[str, Any]:
    return {"manager": manager, "operation": operation, "fieldsV1": fields, "subresource": subresource}


def pod(fields: dict[str, Any]) -> dict[str, Any]:
    return {"f:spec": {"f:template": {"f:spec": fields}}}


OURS = {
    **LABELS,
    "f:spec": {
        "f:replicas": {},
        "f:selector": {},
        "f:template": {"f:spec": {"f:containers": {ENGINE: {".": {}, "f:image": {}, "f:name": {}}}}},
    },
}
MINE = entry("fastgen-operator", OURS, "Apply")
CONTENT = {"spec": {"replicas": 1, "template": {"spec": {"containers": [{"name": "engine", "image": "i"}]}}}}
CONTAINERS = ("spec", "template", "spec", "containers")


def test_ours_are_those_of_our_applies_alone() -> None:
    status = entry("fastgen-operator", {"f:status": {}}, "Apply", "status")
    hooked = entry("fastgen-operator", {"f:spec": {"f:paused": {}}})
    assert owned_fields(deployment(status, hooked, MINE)) == OURS
    assert owned_fields(deployment(hooked)) is None


def test_what_others_set_in_the_spec_is_an_edit() -> None:
    paused = entry("kubectl-rollout", {"f:spec": {"f:paused": {}}})
    assert edits_of(deployment(MINE, paused), OURS) == (Edit(("spec", "paused"), "kubectl-rollout"),)


def test_an_item_of_a_list_is_an_edit_of_the_outermost_list() -> None:
    variable: dict[str, Any] = {"f:env": {".": {}, 'k:{"name":"X"}': {".": {}, "f:name": {}, "f:value": {}}}}
    found = edits_of(deployment(MINE, entry("kubectl-set", pod({"f:containers": {ENGINE: variable}}))), OURS)
    assert found == (Edit(CONTAINERS, "kubectl-set"),)
    assert undo(found, CONTENT) == {"spec": {"template": {"spec": {"containers": [{"name": "engine", "image": "i"}]}}}}


def test_a_renamed_container_is_an_edit_although_nothing_of_the_list_is_ours_any_more() -> None:
    others: dict[str, Any] = {'k:{"name":"other"}': {".": {}, "f:image": {}, "f:name": {}}}
    left = entry("fastgen-operator", {**LABELS, "f:spec": {"f:replicas": {}, "f:selector": {}}}, "Apply")
    renamed = deployment(left, entry("kubectl-edit", pod({"f:containers": others})))
    assert edits_of(renamed, OURS) == (Edit(CONTAINERS, "kubectl-edit"),)


def test_a_field_that_we_do_not_set_is_taken_away() -> None:
    chosen = deployment(MINE, entry("kubectl-patch", pod({"f:nodeSelector": {}})))
    found = edits_of(chosen, OURS)
    assert undo(found, CONTENT) == {"spec": {"template": {"spec": {"nodeSelector": None}}}}


def test_labels_annotations_status_and_restarts_are_others_to_write() -> None:
    restarted: dict[str, Any] = {"f:metadata": {"f:annotations": {"f:kubectl.kubernetes.io/restartedAt": {}}}}
    others = [
        entry("kubectl-rollout", {"f:spec": {"f:template": restarted}}),
        entry("kubectl-label", {"f:metadata": {"f:labels": {"f:mine": {}}}}),
        entry("kube-controller-manager", {"f:status": {"f:conditions": {}}}, subresource="status"),
        entry("kube-controller-manager", {"f:metadata": {"f:annotations": {"f:x": {}}}, "f:status": {"f:x": {}}}),
    ]
    assert edits_of(deployment(MINE, *others), OURS) == ()


def test_what_is_also_ours_is_no_edit_and_scaling_the_child_is_seen_as_a_loss() -> None:
    same = entry("argocd", {"f:spec": {"f:replicas": {}}}, "Apply")
    scaled = entry("kubectl", {"f:spec": {"f:replicas": {}}}, subresource="scale")
    assert edits_of(deployment(MINE, same, scaled), OURS) == ()


def test_kubernetes_completes_claims_and_accounts() -> None:
    bound = deployment(MINE, entry("kube-controller-manager", {"f:spec": {"f:volumeName": {}}}))
    assert edits_of({**bound, "kind": "PersistentVolumeClaim"}, OURS) == ()
    secrets = deployment(MINE, entry("openshift-controller-manager", {"f:imagePullSecrets": {}}))
    assert edits_of({**secrets, "kind": "ServiceAccount"}, OURS) == ()
    assert edits_of({**secrets, "kind": "Role"}, OURS) == (Edit(("imagePullSecrets",), "openshift-controller-manager"),)


def test_what_is_kept_gives_the_same_answers() -> None:
    noise = entry("kube-controller-manager", {"f:metadata": {"f:x": {}}, "f:status": {"f:y": {}}})
    edited = deployment(MINE, entry("kubectl", {"f:spec": {"f:paused": {}}, "f:metadata": {"f:labels": {}}}), noise)
    kept = deployment(*entries_worth_keeping(edited))
    assert owned_fields(kept) == owned_fields(edited)
    assert edits_of(kept, OURS) == edits_of(edited, OURS)
    assert "f:status" not in str(kept)


def test_undoing_nothing_changes_nothing() -> None:
    assert undo((), CONTENT) == {}
    assert edits_of({"kind": "Service", "metadata": {"name": "s"}}, None) == ()
