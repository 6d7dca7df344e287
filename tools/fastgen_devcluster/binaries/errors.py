"""What is said when a binary can be neither found nor got."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fastgen.errors import FastGenError


class BinariesError(FastGenError):
    """Some binaries are missing. The message lists everything that was tried and what would help."""


class NotObtainedError(FastGenError):
    """One way of getting one binary did not work; the message says why. The next way is tried."""


def missing_error(missing: Iterable[str], tried: Mapping[str, Sequence[str]], advice: Sequence[str]) -> BinariesError:
    """`tried` is what was tried for each name, in order."""
    names = list(missing)
    lines = [f"the control plane needs {', '.join(names)}, and {'it' if len(names) == 1 else 'they'} could not be had"]
    for group, attempts in _grouped(names, tried):
        lines.append(f"  {', '.join(group)}:")
        lines.extend(f"    - {attempt}" for attempt in attempts)
    lines.append("any one of these helps:")
    lines.extend(f"  - {line}" for line in advice)
    return BinariesError("\n".join(lines))


def _grouped(names: Sequence[str], tried: Mapping[str, Sequence[str]]) -> list[tuple[list[str], tuple[str, ...]]]:
    """Names for which the same was tried are told together."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        groups.setdefault(tuple(tried.get(name, ())), []).append(name)
    return [(group, attempts) for attempts, group in groups.items()]
