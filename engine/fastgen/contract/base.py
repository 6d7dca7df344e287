"""What every part of the manifest shares: camelCase names, no unknown fields, rules across fields.

A rule is written twice on one line of thought: `holds` for Python, `cel` for the schema of the CRD
(tools/generate_crd.py), so that `kubectl apply` and `fastgen up` refuse the same manifests with the same words.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

BROKEN_RULES = "broken_rules"
"""The type of the validation error that carries rules across fields (see loading.py)."""


class Rule(NamedTuple):
    """Something that must hold between the fields of one object."""

    field: str
    """The field to point at, in camelCase, relative to the object; empty for the object itself."""
    message: str
    """What is allowed, said to the person who wrote the manifest."""
    cel: str
    """The same in CEL, for `x-kubernetes-validations`; `self` is the object."""
    holds: Callable[[Any], bool]


class ValueRule(NamedTuple):
    """Something that must hold of one value, where its type cannot say it."""

    message: str
    """What is allowed."""
    cel: str
    """The same in CEL; `self` is the value."""


def validations(*rules: ValueRule) -> dict[str, Any]:
    """Rules as `x-kubernetes-validations`, in the words that `fastgen up` uses."""
    return {"x-kubernetes-validations": [{"rule": rule.cel, "message": f"allowed: {rule.message}"} for rule in rules]}


def _add_rules(schema: dict[str, Any], kind: type[Any]) -> None:
    """Put an object's RULES into its JSON schema."""
    found = [
        {"rule": rule.cel, "message": f"allowed: {rule.message}", "fieldPath": f".{rule.field}"} for rule in kind.RULES
    ]
    if found:
        schema["x-kubernetes-validations"] = found


class ManifestObject(BaseModel):
    """An object in the manifest. Strict: the API server does not turn "4" into 4, so neither do we."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        strict=True,
        frozen=True,
        use_attribute_docstrings=True,
        json_schema_extra=_add_rules,
    )

    RULES: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, value: Any) -> Any:
        """`engine:` with nothing under it means the defaults, as it does for the API server."""
        if isinstance(value, dict):
            return {key: inner for key, inner in value.items() if inner is not None}
        return value

    @model_validator(mode="after")
    def _check_rules(self) -> ManifestObject:
        values = {to_camel(name): value for name, value in self}
        broken = [(rule.field, rule.message, values.get(rule.field)) for rule in self.RULES if not rule.holds(self)]
        if broken:
            raise PydanticCustomError(BROKEN_RULES, "{count} rules broken", {"count": len(broken), "broken": broken})
        return self

    def to_manifest(self) -> dict[str, Any]:
        """The object as it is written in YAML: camelCase, without what was left at its default."""
        dumped: dict[str, Any] = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        return dumped
