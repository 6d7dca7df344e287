"""The chart's values: every one documented, every one in the schema, nothing else let through."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import generate_chart_docs as generator
from fastgen.errors import UsageError
from fastgen_operator.config import OperatorConfig

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "fastgen-operator"
SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
VALUES = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
Json = dict[str, Any]


def test_the_chart_has_the_version_of_the_project() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["appVersion"] == version
    assert chart["version"] == version


def test_readme_and_schema_say_what_values_yaml_says() -> None:
    script = ROOT / "tools" / "generate_chart_docs.py"
    assert subprocess.run([sys.executable, script, "--check"], check=False).returncode == 0


def ours(schema: Json, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Json]]:
    """Every value in the schema that is ours to define, groups included."""
    for name, inner in schema["properties"].items():
        if path == () and name == "global":  # Helm's own
            continue
        yield (*path, name), inner
        if "properties" in inner:
            yield from ours(inner, (*path, name))


@pytest.mark.parametrize(("path", "schema"), list(ours(SCHEMA)), ids=[".".join(path) for path, _ in ours(SCHEMA)])
def test_every_value_has_a_description_and_a_default(path: tuple[str, ...], schema: Json) -> None:
    assert schema["description"]
    found = VALUES
    for name in path:
        assert name in found, f"{'.'.join(path)} is in the schema and not in values.yaml"
        found = found[name]


def test_nothing_in_values_yaml_is_unknown_to_the_schema_and_nothing_else_is_let_through() -> None:
    def walk(values: Json, schema: Json, path: str) -> None:
        assert schema["additionalProperties"] is False, f"{path} lets misspelt names through"
        assert set(values) <= set(schema["properties"]), path
        for name, value in values.items():
            if "properties" in schema["properties"][name]:
                walk(value, schema["properties"][name], f"{path}.{name}")

    walk(VALUES, SCHEMA, "values")


@pytest.mark.parametrize(
    ("value", "option"),
    [("resyncSeconds", "resync_seconds"), ("scalingIntervalSeconds", "scaling_interval_seconds")],
)
def test_the_schema_refuses_what_the_operator_would_refuse(value: str, option: str) -> None:
    allowed = SCHEMA["properties"][value]
    OperatorConfig(**{option: allowed["minimum"]})
    with pytest.raises(UsageError):
        OperatorConfig(**{option: allowed["minimum"] * 0.99})
    if "maximum" in allowed:
        OperatorConfig(**{option: allowed["maximum"]})
        with pytest.raises(UsageError):
            OperatorConfig(**{option: allowed["maximum"] + 1})


def test_the_log_options_are_the_operators() -> None:
    kinds = typing.get_type_hints(OperatorConfig)
    for value, option in (("format", "log_format"), ("level", "log_level")):
        assert tuple(SCHEMA["properties"]["log"]["properties"][value]["enum"]) == typing.get_args(kinds[option])


def test_a_value_without_a_comment_is_found() -> None:
    text = "# A group.\ngroup:\n  # One.\n  one: 1\n  two: 2\n"
    schema = {"properties": {"group": {"additionalProperties": False, "properties": {"one": {}, "two": {}}}}}
    texts = generator.comments(text)
    assert texts == {("group",): "A group.", ("group", "one"): "One."}
    with pytest.raises(SystemExit, match=r"group\.two has no comment"):
        list(generator.table(yaml.safe_load(text), schema, texts))
