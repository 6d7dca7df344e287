"""Command lines and variables as a kubelet resolves them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from fastgen_devcluster.node.environment import Known, command_line, expand, variables
from fastgen_devcluster.node.fields import Addresses, FieldError
from fastgen_devcluster.node.references import MissingReferenceError, contents

POD = {
    "metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"a/b": "1", "c": 'x"y'}},
    "spec": {"nodeName": "node-0"},
}


class Given:
    """The objects of a namespace, given by hand."""

    def __init__(self, **objects: Mapping[str, bytes]) -> None:
        self._objects = objects

    async def data(self, kind: str, name: str) -> Mapping[str, bytes] | None:
        return self._objects.get(f"{kind}_{name}")


async def resolved(env: list[dict[str, Any]], objects: Given | None = None, **container: Any) -> dict[str, str]:
    allocatable = {"cpu": "16", "memory": "64Gi"}
    known = Known(POD, Addresses("127.1.0.9", "127.1.0.1"), allocatable, objects or Given())
    return await variables({"name": "main", "env": env, **container}, known)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("$(A)", "1"), ("$(B)", "$(B)"), ("$$(A)", "$(A)"), ("$$$(A)", "$1"), ("$A $", "$A $"), ("$(A)$(A", "1$(A")],
)
def test_variables_in_text(text: str, expected: str) -> None:
    assert expand(text, {"A": "1"}) == expected


def test_args_replace_nothing_and_command_replaces_the_entry_point() -> None:
    entry = ("fastgen", "--x")
    assert command_line({"args": ["$(A)"]}, entry, {"A": "1"}) == ("fastgen", "--x", "1")
    assert command_line({"command": ["sh"], "args": ["-c"]}, entry, {}) == ("sh", "-c")


def test_the_pods_words_are_translated_and_the_machines_own_entry_point_stays() -> None:
    line = command_line({"args": ["/tmp/x"]}, ("/tmp/bin/fastgen",), {}, lambda word: word.replace("/tmp", "/pod"))
    assert line == ("/tmp/bin/fastgen", "/pod/x")


async def test_a_variable_sees_those_before_it() -> None:
    env = [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)$(C)"}, {"name": "C", "value": "3"}, {"name": "D"}]
    assert await resolved(env) == {"A": "1", "B": "1$(C)", "C": "3", "D": ""}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("metadata.name", "p"),
        ("metadata.labels['a/b']", "1"),
        ("metadata.labels['none']", ""),
        ("metadata.labels", 'a/b="1"\nc="x\\"y"'),
        ("spec.serviceAccountName", "default"),
        ("status.podIP", "127.1.0.9"),
        ("status.hostIP", "127.1.0.1"),
    ],
)
async def test_fields_of_the_pod(path: str, expected: str) -> None:
    assert await resolved([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": path}}}]) == {"A": expected}


async def test_a_field_nobody_knows_is_an_error() -> None:
    with pytest.raises(FieldError, match=r"spec\.hostname"):
        await resolved([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.hostname"}}}])


@pytest.mark.parametrize(
    ("resource", "divisor", "expected"),
    [
        ("limits.cpu", "1", "1"),
        ("limits.cpu", "1m", "300"),
        ("limits.memory", "1Mi", "65536"),  # no limit: what the node has
        ("requests.memory", "1Mi", "2"),
        ("requests.cpu", "0", "0"),
    ],
)
async def test_resources_round_up_in_units_of_the_divisor(resource: str, divisor: str, expected: str) -> None:
    reference = {"resourceFieldRef": {"resource": resource, "divisor": divisor}}
    resources = {"limits": {"cpu": "300m"}, "requests": {"memory": "1025Ki"}}
    assert await resolved([{"name": "A", "valueFrom": reference}], resources=resources) == {"A": expected}


async def test_config_maps_and_secrets() -> None:
    objects = Given(configmaps_c={"k": b"1"}, secrets_s={"p": b"2"})
    env = [
        {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}},
        {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "p"}}},
        {"name": "C", "valueFrom": {"secretKeyRef": {"name": "s", "key": "none", "optional": True}}},
        {"name": "D", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "k", "optional": True}}},
    ]
    whole = [{"prefix": "X_", "secretRef": {"name": "s"}}, {"configMapRef": {"name": "none", "optional": True}}]
    assert await resolved(env, objects, envFrom=whole) == {"X_p": "2", "A": "1", "B": "2"}


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ({"configMapKeyRef": {"name": "none", "key": "k"}}, 'configmap "none" not found'),
        ({"secretKeyRef": {"name": "s", "key": "none"}}, "couldn't find key none in secret s"),
    ],
)
async def test_what_is_missing_is_named(reference: dict[str, Any], message: str) -> None:
    with pytest.raises(MissingReferenceError, match=message):
        await resolved([{"name": "A", "valueFrom": reference}], Given(secrets_s={}))


def test_contents_of_config_maps_and_secrets() -> None:
    assert contents({"kind": "ConfigMap", "data": {"a": "b"}, "binaryData": {"c": "ZA=="}}) == {"a": b"b", "c": b"d"}
    assert contents({"kind": "Secret", "data": {"a": "Yg=="}}) == {"a": b"b"}
