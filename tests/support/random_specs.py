"""Random specs of a FastGenDeployment, right and wrong, drawn from the schema of the CustomResourceDefinition itself:
a field that is new is drawn, too."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import strategies as st

Json = dict[str, Any]

QUANTITIES = (
    "1",
    "500m",
    "4Gi",
    "1.5Gi",
    "0",
    ".5Ki",
    "2k",
    "1e3",
    "+1",
    "-1",
    "4GB",
    "16 GB",
    "",
    "٣Gi",
    "1Gi\n",
    1,
    0,
    -1,
)
POOLS: dict[str, tuple[Any, ...]] = {
    ".model.source": (
        "hf://a/b", "hf://a", "pvc://claim/a/b", "s3://bucket/x", "oci://ghcr.io/a/b:1", "file:///a", "file://./a",
        "hf://a/b/c", "a/b", "pvc://Claim/a", "pvc://claim/../a", "s3://bucket", "oci://ghcr.io", "file:///", "hf://ä/b",
    ),
    ".autoscaling.prometheus.url": ("http://p:9090", "https://p.m/x", "p:9090", "http://", "http://p q"),
    ".engine.tokenBudget": ("auto", 1, 512, 0, -1, "512"),
    ".engine.kvBytes": QUANTITIES,
    ".model.cache.size": QUANTITIES,
    ".sla.target": ("0.99", "1", "0", "1.01", ".5", "0.1234567", "x", "٠", "1\n", 1),
    ".engine.memoryFraction": ("0.9", "0.05", "0.04", "1", "2"),
}  # fmt: skip
"""Values of fields that a type alone does not describe: some allowed, some not."""
WRONG_TYPES: tuple[Any, ...] = ("x", 7, True, [], {}, 1.5)


def specs(schema: Json) -> st.SearchStrategy[Json]:
    """Specs, most of them nearly right. A spec with one wrong value says more than one with ten."""
    return st.one_of(_objects(schema, "", 0.0), _objects(schema, "", 0.03), _objects(schema, "", 0.15)).filter(bool)


def _objects(schema: Json, path: str, wrong: float) -> st.SearchStrategy[Any]:
    """An object with a few of its fields."""
    properties, required = schema["properties"], set(schema.get("required", ()))
    number = len(properties)

    @st.composite
    def draw_object(draw: st.DrawFn) -> Json:
        chosen = draw(st.sets(st.sampled_from(sorted(properties)), max_size=min(number, 5))) | required
        if draw(_chance(wrong)) and required:
            chosen -= {draw(st.sampled_from(sorted(required)))}
        found = {name: draw(_values(properties[name], f"{path}.{name}", wrong)) for name in sorted(chosen)}
        if draw(_chance(wrong)):
            found["unknownField"] = 1
        return found

    return draw_object()


def _values(schema: Json, path: str, wrong: float) -> st.SearchStrategy[Any]:
    right = _right(schema, path, wrong)
    mistakes = st.sampled_from((None, *WRONG_TYPES))
    return _chance(wrong).flatmap(lambda is_wrong: mistakes if is_wrong else right)


def _right(schema: Json, path: str, wrong: float) -> st.SearchStrategy[Any]:
    """A value of the right type, and mostly within its bounds."""
    if path in POOLS:
        return st.sampled_from(POOLS[path])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kind = schema.get("type")
    if "properties" in schema:
        return _objects(schema, path, wrong)
    if "additionalProperties" in schema:
        # An API server drops a null from a map; on one machine it is an error, which is the kinder of the two.
        values = _values(schema["additionalProperties"], f"{path}.*", wrong).filter(lambda value: value is not None)
        return st.dictionaries(st.sampled_from(("cpu", "memory", "nvidia.com/gpu")), values, max_size=2)
    if schema.get("x-kubernetes-int-or-string"):
        return st.sampled_from(QUANTITIES)
    if kind == "integer":
        low, high = schema.get("minimum", 0), schema.get("maximum", 2**31 - 1)
        outside = (low - 1, high + 1) if wrong else ()
        return st.sampled_from((low, low, low + 1, high, *outside))
    if kind == "array":
        return st.lists(_values(schema["items"], f"{path}[]", wrong), max_size=2)
    if kind == "boolean":
        return st.booleans()
    if kind == "string":
        if "pattern" in schema:
            return st.from_regex(re.compile(schema["pattern"], re.ASCII), fullmatch=True)
        return st.sampled_from(("a", "some-name", "x" * schema.get("maxLength", 10)))
    return st.just({})


def _chance(probability: float) -> st.SearchStrategy[bool]:
    return st.floats(0, 1, exclude_max=True).map(lambda drawn: drawn > 1 - probability)
