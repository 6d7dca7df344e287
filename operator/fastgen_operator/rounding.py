"""Numbers as they are published: in a steady state nothing should change with every look."""

from __future__ import annotations


def two_digits(value: float | None) -> int | None:
    """To two digits: 1234.5 is 1200."""
    return None if value is None else int(float(f"{value:.2g}"))
