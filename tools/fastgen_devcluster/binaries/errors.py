"""What is said when a binary can be neither found nor got."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fastgen_devcluster.errors import DevClusterError


class BinariesError(DevClusterError):
    """Some binaries are missing. The message lists everything that was tried and what would help."""


class NotObtainedError(DevClusterError):
    """One way of getting one binary did not work; the message says why. The next way is tried."""


def missing_error(
    missing: Mapping[str, str], tried: Mapping[str, Sequence[str]], advice: Sequence[str]
) -> BinariesError:
    """`missing` is the version wanted of each name, `tried` what was tried for it, in order."""
    lines = [f"a devcluster needs {', '.join(missing)}, and {'it' if len(missing) == 1 else 'they'} could not be had:"]
    for name, version in missing.items():
        lines.append(f"  {name} {version}")
        lines.extend(f"    - {attempt}" for attempt in tried[name])
    lines.append("any one of these helps:")
    lines.extend(f"  - {line}" for line in advice)
    return BinariesError("\n".join(lines))
