"""Kubernetes quantities ("50Gi", "500m") and other small values that the manifest writes as text."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

WRONG_VALUE = "wrong_value"
"""The type of validation errors whose message already says what is allowed."""

QUANTITY_PATTERN = r"^\+?(\d+(\.\d*)?|\.\d+)(([KMGTPE]i)|[numkMGTPE]|([eE][+-]?\d+))?$"

_SUFFIXES: dict[str, int | Decimal] = {
    "": 1, "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"),
    "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60,
}  # fmt: skip


def wrong(allowed: str) -> PydanticCustomError:
    """An error that says what is allowed; loading.py adds the path and what was given."""
    return PydanticCustomError(WRONG_VALUE, "{allowed}", {"allowed": allowed})


def parse_quantity(text: str | int) -> Decimal:
    """The number a Kubernetes quantity stands for: "4Gi" is 4294967296, "500m" is 0.5.

    Raises ValueError for text that is not a quantity.
    """
    if isinstance(text, int):
        return Decimal(text)
    if not re.match(QUANTITY_PATTERN, text):
        raise ValueError(f"{text!r} is not a quantity such as 500m, 4Gi or 16")
    number, suffix = re.fullmatch(r"(\+?[\d.]+(?:[eE][+-]?\d+)?)([A-Za-z]*)", text).groups()  # type: ignore[union-attr]
    return Decimal(number) * Decimal(_SUFFIXES[suffix])


def _check_quantity(value: Any) -> Any:
    allowed = 'a quantity such as "500m", "4Gi" or 16'
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise wrong(allowed)
    if isinstance(value, int) and value < 0:
        raise wrong(allowed)
    if isinstance(value, str) and not re.match(QUANTITY_PATTERN, value):
        raise wrong(allowed)
    return value


def _check_bytes(value: Any) -> Any:
    value = _check_quantity(value)
    number = parse_quantity(value)
    if number < 1 or number != int(number):
        raise wrong('a whole number of bytes, at least 1, such as "4Gi"')
    return value


def _check_token_budget(value: Any) -> Any:
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise wrong('"auto" or an integer of at least 1')


def _check_fraction(value: Any) -> Any:
    if not isinstance(value, str):
        raise wrong('a decimal from 0 to 1 written as text, such as "0.99", with the quotes')
    if not re.match(FRACTION_PATTERN, value):
        raise wrong('a decimal from 0 to 1 such as "0.99"')
    return value


FRACTION_PATTERN = r"^(0(\.\d{1,6})?|1(\.0{1,6})?)$"

Quantity = Annotated[
    str | int,
    BeforeValidator(_check_quantity),
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "pattern": QUANTITY_PATTERN,
            "x-kubernetes-int-or-string": True,
        }
    ),
]
"""An amount as Kubernetes writes it; see `parse_quantity`."""

ByteQuantity = Annotated[
    str | int,
    BeforeValidator(_check_bytes),
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "pattern": QUANTITY_PATTERN,
            "x-kubernetes-int-or-string": True,
        }
    ),
]
"""A quantity that is a whole number of bytes."""

TokenBudgetValue = Annotated[
    int | Literal["auto"],
    BeforeValidator(_check_token_budget),
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "enum": ["auto"]}],
            "x-kubernetes-int-or-string": True,
        }
    ),
]

Fraction = Annotated[
    str, BeforeValidator(_check_fraction), StringConstraints(pattern=FRACTION_PATTERN),
]  # fmt: skip
"""A share from 0 to 1, as text: Kubernetes APIs carry no floating point."""
