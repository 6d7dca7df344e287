"""What somebody asked of the API server, counted from its audit log."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from fastgen_devcluster.cluster import DevCluster


class Call(NamedTuple):
    """One kind of request."""

    verb: str
    resource: str
    """With the subresource after a slash; empty for discovery."""

    @property
    def writes(self) -> bool:
        return self.verb in ("create", "update", "patch", "delete", "deletecollection")


class Calls:
    """The calls of one user since this was made, or since the last `forget`."""

    def __init__(self, cluster: DevCluster, user: str) -> None:
        self._log = cluster.audit_log
        self._user = user
        self._offset = 0
        self.forget()

    def forget(self) -> None:
        self._offset = self._log.stat().st_size

    def counted(self) -> Counter[Call]:
        """How often each was asked. Left out: renewals of the Lease and watches, which cost the same for any number."""
        return Counter(call for call in self._all() if call.verb != "watch" and call.resource != "leases")

    def writes(self) -> Counter[Call]:
        return Counter({call: count for call, count in self.counted().items() if call.writes})

    def _all(self) -> Iterator[Call]:
        with self._log.open(encoding="utf-8") as log:
            log.seek(self._offset)
            lines = log.read().rpartition("\n")[0].splitlines()
        for line in lines:
            entry = json.loads(line)
            if entry["user"]["username"] == self._user:
                about = entry.get("objectRef") or {}
                resource = "/".join(filter(None, (about.get("resource"), about.get("subresource"))))
                yield Call(entry["verb"], resource)


def table(calls: Counter[Call], deployments: int) -> str:
    """For people: each call, and how many of it a deployment."""
    lines = [f"{'verb':<8}{'resource':<28}{'calls':>7}{'each':>8}"]
    for call, count in sorted(calls.items()):
        lines.append(f"{call.verb:<8}{call.resource or '(discovery)':<28}{count:>7}{count / deployments:>8.1f}")
    lines.append(f"{'':<36}{calls.total():>7}{calls.total() / deployments:>8.1f}")
    return "\n".join(lines)
