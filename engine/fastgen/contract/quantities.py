"""Kubernetes quantities ("50Gi", "500m") and other small values that the manifest writes as text."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from fastgen.contract.base import ValueRule, validations

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


def _is(pattern: str, text: str) -> bool:
    """Whether all of `text` is as an API server's regular expressions want it: ASCII digits, nothing after the end."""
    return re.fullmatch(pattern, text, re.ASCII) is not None


def parse_quantity(text: str | int) -> Decimal:
    """The number a Kubernetes quantity stands for: "4Gi" is 4294967296, "500m" is 0.5.

    Raises ValueError for text that is not a quantity.
    """
    if isinstance(text, int):
        return Decimal(text)
    if not _is(QUANTITY_PATTERN, text):
        raise ValueError(f"{text!r} is not a quantity such as 500m, 4Gi or 16")
    number, suffix = re.fullmatch(r"(\+?[\d.]+(?:[eE][+-]?\d+)?)([A-Za-z]*)", text).groups()  # type: ignore[union-attr]
    return Decimal(number) * Decimal(_SUFFIXES[suffix])


def _check_quantity(value: Any) -> Any:
    allowed = 'a quantity such as "500m", "4Gi" or 16'
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise wrong(allowed)
    if isinstance(value, int) and value < 0:
        raise wrong(allowed)
    if isinstance(value, str) and not _is(QUANTITY_PATTERN, value):
        raise wrong(allowed)
    return value


BYTES_PATTERN = r"^[1-9]\d*(\.\d+)?([kMGTPE]|[KMGTPE]i)?$"
"""As many bytes as a person writes: nothing below one byte, a fraction only of a larger unit's."""
BYTES = ValueRule(
    'a whole number of bytes, at least 1, such as "4Gi"',
    f"type(self) == int ? self >= 1 : self.matches(r'{BYTES_PATTERN}')",
)
TOKEN_BUDGET = ValueRule(
    '"auto" or an integer of at least 1',
    "type(self) == int ? self >= 1 : self == 'auto'",
)
FRACTION_PATTERN = r"^(0(\.\d{1,6})?|1(\.0{1,6})?)$"
FRACTION = ValueRule('a decimal from 0 to 1 such as "0.99"', f"self.matches(r'{FRACTION_PATTERN}')")


def _check_bytes(value: Any) -> Any:
    value = _check_quantity(value)
    if value < 1 if isinstance(value, int) else not _is(BYTES_PATTERN, value):
        raise wrong(BYTES.message)
    return value


def _check_token_budget(value: Any) -> Any:
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise wrong(TOKEN_BUDGET.message)


def _check_fraction(value: Any) -> Any:
    if not isinstance(value, str):
        raise wrong('a decimal from 0 to 1 written as text, such as "0.99", with the quotes')
    if not _is(FRACTION_PATTERN, value):
        raise wrong(FRACTION.message)
    return value


_INT_OR_STRING: dict[str, Any] = {
    "anyOf": [{"type": "integer"}, {"type": "string"}],
    "x-kubernetes-int-or-string": True,
}

Quantity = Annotated[
    str | int,
    BeforeValidator(_check_quantity),
    # No CEL here: in a map of any size the API server would count it as too costly.
    WithJsonSchema({**_INT_OR_STRING, "pattern": QUANTITY_PATTERN, "minimum": 0}),
]
"""An amount as Kubernetes writes it; see `parse_quantity`."""

ByteQuantity = Annotated[
    str | int, BeforeValidator(_check_bytes), WithJsonSchema({**_INT_OR_STRING, **validations(BYTES)})
]
"""A quantity that is a whole number of bytes."""

TokenBudgetValue = Annotated[
    int | Literal["auto"],
    BeforeValidator(_check_token_budget),
    WithJsonSchema({**_INT_OR_STRING, **validations(TOKEN_BUDGET)}),
]
"""A number of tokens, or measured."""

Fraction = Annotated[
    str,
    BeforeValidator(_check_fraction),
    WithJsonSchema({"type": "string", "maxLength": 8, **validations(FRACTION)}),
]
"""A share from 0 to 1, as text: Kubernetes APIs carry no floating point."""
