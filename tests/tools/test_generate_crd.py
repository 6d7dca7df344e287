"""The CustomResourceDefinition says what the types say, in the words an API server takes."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import AfterValidator, BeforeValidator, ValidationError

from fastgen.contract import FastGenDeploymentSpec
from fastgen.contract.base import ManifestObject, ValueRule
from fastgen.contract.model_source import parse_source, source_rules
from fastgen.contract.quantities import BYTES, FRACTION, TOKEN_BUDGET

ROOT = Path(__file__).parents[2]
CRD = yaml.safe_load((ROOT / "crds" / "fastgendeployments.yaml").read_text(encoding="utf-8"))
VERSION = CRD["spec"]["versions"][0]
SCHEMA = VERSION["schema"]["openAPIV3Schema"]
Json = dict[str, Any]


def nodes(schema: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    """Every schema within a schema."""
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from nodes(inner, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from nodes(schema[key], f"{path}.{key}")


def test_the_file_is_current() -> None:
    script = ROOT / "tools" / "generate_crd.py"
    assert subprocess.run([sys.executable, script, "--check"], check=False).returncode == 0


def test_the_schema_is_structural() -> None:
    """https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/"""
    for path, node in nodes(SCHEMA):
        assert not {"$ref", "title", "const", "oneOf", "nullable"} & set(node), path
        if node.get("x-kubernetes-int-or-string"):
            assert "type" not in node, path
            assert node["anyOf"] == [{"type": "integer"}, {"type": "string"}], path
        else:
            assert "type" in node, path
            assert "anyOf" not in node, path
        assert not ("properties" in node and "additionalProperties" in node), path
        assert node.get("additionalProperties", {}) not in (True, False), path
        for rule in node.get("x-kubernetes-validations", ()):
            assert rule.get("fieldPath", ".").lstrip(".") in {"", *node.get("properties", {})}, path


def test_unknown_fields_are_kept_only_inside_the_pod_template() -> None:
    kept = [path for path, node in nodes(SCHEMA) if node.get("x-kubernetes-preserve-unknown-fields")]
    assert kept
    assert all(path.startswith(".spec.podTemplate.") for path in kept)


def test_every_field_teaches() -> None:
    quiet = [path for path, node in nodes(SCHEMA) if "description" not in node]
    of_values = (".additionalProperties", ".items", ".metadata", ".metadata.name")
    assert [path for path in quiet if not path.endswith(of_values)] == []
    assert (
        "Dynamic SplitFuse"
        in SCHEMA["properties"]["spec"]["properties"]["engine"]["properties"]["tokenBudget"]["description"]
    )


def test_names_columns_and_subresources_are_what_people_type() -> None:
    assert CRD["spec"]["names"]["shortNames"] == ["fgd"]
    assert [c["name"] for c in VERSION["additionalPrinterColumns"] if c["priority"] == 0] == [
        "Ready", "Replicas", "Desired", "Effective", "Age",
    ]  # fmt: skip
    properties = {path for path, _ in nodes(SCHEMA)}
    assert set(VERSION["subresources"]["scale"].values()) <= properties
    conditions = SCHEMA["properties"]["status"]["properties"]["conditions"]
    assert (conditions["x-kubernetes-list-type"], conditions["x-kubernetes-list-map-keys"]) == ("map", ["type"])


def defaulted(schema: Json, value: Any) -> Any:
    """What an API server makes of a value: missing fields get their defaults."""
    if not isinstance(value, dict):
        return value
    found = dict(value)
    for name, inner in schema.get("properties", {}).items():
        if name not in found and "default" in inner:
            found[name] = inner["default"]
        if name in found:
            found[name] = defaulted(inner, found[name])
    return found


def without_empty(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    kept = {key: without_empty(inner) for key, inner in value.items()}
    return {key: inner for key, inner in kept.items() if inner not in (None, {}, [])}


@pytest.mark.parametrize(
    "written",
    [
        {"model": {"source": "hf://a/b"}},
        {
            "model": {"source": "hf://a/b", "cache": {"size": "1Gi"}, "tokenSecretRef": {"name": "hf"}},
            "autoscaling": {"maxReplicas": 2, "prometheus": {"url": "http://p:9090"}, "behavior": {"scaleUp": {}}},
            "balancer": {"service": {"port": 8080}},
        },
    ],
)
def test_the_api_server_fills_in_the_same_defaults_as_the_types(written: Json) -> None:
    from_schema = defaulted(SCHEMA["properties"]["spec"], written)
    from_types = FastGenDeploymentSpec.model_validate(written).model_dump(mode="json", by_alias=True)
    assert without_empty(from_schema) == without_empty(from_types)


# -- rules ----------------------------------------------------------------------------------------------------------


def kinds(kind: type[ManifestObject] = ManifestObject) -> Iterator[type[ManifestObject]]:
    for inner in kind.__subclasses__():
        yield inner
        yield from kinds(inner)


def test_every_rule_between_fields_is_in_the_schema() -> None:
    in_schema = {rule["rule"] for _, node in nodes(SCHEMA) for rule in node.get("x-kubernetes-validations", ())}
    rules = [rule for kind in kinds() if kind.__module__.startswith("fastgen.contract") for rule in kind.RULES]
    assert len(rules) >= 7
    assert {rule.cel for rule in rules} <= in_schema


def test_every_validator_of_a_value_has_its_twin_in_the_schema() -> None:
    for kind in kinds():
        if not kind.__module__.startswith("fastgen.contract"):
            continue
        schema = kind.model_json_schema(by_alias=True)["properties"]
        for field in kind.model_fields.values():
            if any(isinstance(mark, AfterValidator | BeforeValidator) for mark in field.metadata):
                said = str(schema[field.alias])
                assert "x-kubernetes-validations" in said or "pattern" in said, f"{kind.__name__}.{field.alias}"


def cel(rule: str, value: Any) -> bool:
    """The few words of CEL that our rules use, as Python."""

    class Self:
        def __init__(self, fields: Json) -> None:
            self.__dict__.update(fields)

    code = re.sub(r"has\(self\.(\w+)\)", r"hasattr(self, '\1')", rule)
    code = re.sub(r"(type\(self\) == int) \? (.*) : (.*)", r"(\2) if \1 else (\3)", code)
    code = re.sub(r"(self(?:\.\w+)?)\.matches\(", r"matches(\1, ", code)
    outside = re.split(r"(r?'(?:[^']*)')", code)
    for at in range(0, len(outside), 2):
        words = outside[at].replace("||", " or ").replace("&&", " and ").replace("startsWith", "startswith")
        outside[at] = re.sub(r"!(?!=)", " not ", words).replace("double(", "float(")
    names = {
        "self": Self(value) if isinstance(value, dict) else value,
        "matches": lambda text, pattern: re.search(pattern, text, re.ASCII) is not None,
    }
    return bool(eval("".join(outside).strip(), names))


SOURCES = (
    "hf://a/b", "hf://a", "hf://a/b/c", "hf://", "hf:/a", "a/b", "ftp://a/b", "pvc://claim", "pvc://claim/a/b", "pvc://Claim/a",
    "pvc://claim/../a", "pvc://claim/a..b", "pvc://claim/..", "s3://bucket/x", "s3://bucket", "s3://bu/x", "s3://bucket/a/../b",
    "oci://ghcr.io/a/b:1", "oci://ghcr.io/a/b@sha256:" + "0" * 64, "oci://ghcr.io", "oci://h:5000/a", "file:///a", "file://./a",
    "file:///", "file://..", "hf://ä/b",
)  # fmt: skip


@pytest.mark.parametrize("source", SOURCES)
def test_a_source_is_judged_alike_in_python_and_cel(source: str) -> None:
    try:
        parse_source(source)
        allowed = None
    except ValueError as error:
        allowed = str(error)
    broken = [rule.message for rule in source_rules() if not cel(rule.cel, source)]
    assert broken == ([allowed] if allowed else [])


@pytest.mark.parametrize(
    ("rule", "path", "values"),
    [
        (TOKEN_BUDGET, ("engine", "tokenBudget"), ("auto", 1, 512, 0, -1, "512", "Auto")),
        (BYTES, ("engine", "kvBytes"), ("4Gi", 1, 0, -1, "1", "0", "500m", "1.5Gi", "4GB", "2k", "٣Gi")),
        (FRACTION, ("sla", "target"), ("0.99", "1", "0", "1.0", "1.01", ".5", "0.1234567", "x", "٠")),
    ],
)
def test_a_value_is_judged_alike_in_python_and_cel(rule: ValueRule, path: tuple[str, str], values: Any) -> None:
    for value in values:
        try:
            FastGenDeploymentSpec.model_validate({"model": {"source": "hf://a"}, path[0]: {path[1]: value}})
            accepted = True
        except ValidationError:
            accepted = False
        assert accepted == cel(rule.cel, value), value


OBJECTS: list[tuple[str, Json]] = [
    ("model", {"source": "hf://a", "revision": "r", "tokenSecretRef": {"name": "n"}, "cache": {"size": 1}}),
    ("model", {"source": "pvc://a", "revision": "r"}),
    ("model", {"source": "file:///a", "tokenSecretRef": {"name": "n"}}),
    ("model", {"source": "pvc://a/b", "cache": {"size": "1Gi"}}),
    ("model", {"source": "oci://a/b", "cache": {"size": "1Gi"}}),
    ("engine", {"attention": "flash_attn", "blockTokens": 16}),
    ("engine", {"attention": "flash_attn", "blockTokens": 512}),
    ("engine", {"memoryFraction": "0.04"}),
    ("engine", {"memoryFraction": "0.05"}),
    ("autoscaling", {"minReplicas": 3, "maxReplicas": 2, "prometheus": {"url": "http://p"}}),
    ("autoscaling", {"minReplicas": 2, "maxReplicas": 2, "prometheus": {"url": "http://p"}}),
    ("balancer.service", {"port": 81}),
    ("balancer.service", {"port": 82}),
]


@pytest.mark.parametrize(("where", "value"), OBJECTS)
def test_an_object_is_judged_alike_in_python_and_cel(where: str, value: Json) -> None:
    schema, spec = SCHEMA["properties"]["spec"], value
    for step in where.split("."):
        schema = schema["properties"][step]
    for step in reversed(where.split(".")):
        spec = {step: spec}
    try:
        FastGenDeploymentSpec.model_validate({"model": {"source": "hf://a"}, **spec})
        accepted = True
    except ValidationError:
        accepted = False
    assert accepted == all(cel(rule["rule"], defaulted(schema, value)) for rule in schema["x-kubernetes-validations"])


def broken_rules(schema: Json, value: Any) -> list[str]:
    """Every rule that a value breaks as it stands, with nothing filled in; a field that is missing is an error."""
    broken = [rule["rule"] for rule in schema.get("x-kubernetes-validations", ()) if not cel(rule["rule"], value)]
    if isinstance(value, dict):
        for name, inner in schema.get("properties", {}).items():
            broken += broken_rules(inner, value[name]) if name in value else []
    return broken


def test_every_default_keeps_the_rules_as_it_is_written() -> None:
    """An API server refuses the whole definition otherwise: it fills nothing in before it judges a default."""
    whole = [(path, node) for path, node in nodes(SCHEMA) if isinstance(node.get("default"), dict)]
    assert {".spec.engine", ".spec.balancer", ".spec.balancer.service"} <= {path for path, _ in whole}
    for path, node in whole:
        assert defaulted(node, node["default"]) == node["default"], path
        assert broken_rules(node, node["default"]) == [], path
