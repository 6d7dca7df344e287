"""What the API server says, in its own words."""

from __future__ import annotations

import json

import pytest

from fastgen_operator.api.access import describe
from fastgen_operator.api.errors import ApiError, FieldConflict
from fastgen_operator.api.kinds import FASTGEN_DEPLOYMENTS, PODS


def test_a_conflict_names_managers_and_fields() -> None:
    body = {
        "kind": "Status",
        "reason": "Conflict",
        "message": "Apply failed with 1 conflict",
        "details": {
            "causes": [
                {
                    "reason": "FieldManagerConflict",
                    "message": 'conflict with "kubectl-patch" using apps/v1',
                    "field": ".spec.replicas",
                }
            ]
        },
    }
    error = ApiError.of(409, json.dumps(body).encode())
    assert error.field_conflicts() == (FieldConflict("kubectl-patch", ".spec.replicas"),)
    assert error.is_transient
    assert error.message == "Apply failed with 1 conflict"


@pytest.mark.parametrize("body", [b"", b"<html>bad gateway</html>", b"[]", b'{"kind": "Pod"}', b"\xff\xfe"])
def test_an_answer_of_something_else_is_an_error_with_its_words(body: bytes) -> None:
    error = ApiError.of(502, body)
    assert error.status == 502
    assert error.message.startswith("HTTP 502: ")
    assert error.field_conflicts() == ()


def test_a_namespace_that_goes_is_no_trouble() -> None:
    causes = [{"reason": "NamespaceTerminating", "message": "namespace a is being terminated", "field": ""}]
    body = {"kind": "Status", "reason": "Forbidden", "message": "unable to create", "details": {"causes": causes}}
    assert ApiError.of(403, json.dumps(body).encode()).is_farewell
    assert not ApiError.of(403, json.dumps({**body, "details": {}}).encode()).is_farewell


@pytest.mark.parametrize(
    ("method", "path", "headers", "described"),
    [
        ("GET", "/api/v1/namespaces/a/pods?labelSelector=x", {}, ("list", "pods")),
        ("GET", "/api/v1/pods?watch=true&timeoutSeconds=9", {}, ("watch", "pods")),
        ("GET", "/apis/coordination.k8s.io/v1/namespaces/a/leases/me", {}, ("get", "leases")),
        ("PUT", "/apis/coordination.k8s.io/v1/namespaces/a/leases/me", {}, ("update", "leases")),
        ("POST", "/api/v1/namespaces/a/events", {}, ("create", "events")),
        (
            "PATCH",
            "/apis/fastgen.dev/v1alpha1/namespaces/a/fastgendeployments/m/status?force=true",
            {"Content-Type": "application/apply-patch+yaml"},
            ("apply", "fastgendeployments/status"),
        ),
        (
            "PATCH",
            "/apis/fastgen.dev/v1alpha1/namespaces/a/fastgendeployments/m/scale",
            {},
            ("patch", "fastgendeployments/scale"),
        ),
        ("GET", "/apis/monitoring.coreos.com/v1", {}, ("get", "discovery")),
        ("DELETE", "/apis/apps/v1/namespaces/a/deployments/m", {}, ("delete", "deployments")),
    ],
)
def test_calls_are_counted_in_kubernetes_words(
    method: str, path: str, headers: dict[str, str], described: tuple[str, str]
) -> None:
    assert describe(method, f"https://10.96.0.1:443{path}", headers) == described


def test_paths() -> None:
    assert PODS.path("a") == "/api/v1/namespaces/a/pods"
    assert PODS.path(None) == "/api/v1/pods"
    assert (
        FASTGEN_DEPLOYMENTS.path("a", "m", "status")
        == "/apis/fastgen.dev/v1alpha1/namespaces/a/fastgendeployments/m/status"
    )
