"""Who wrote what: the API server's own record."""

from __future__ import annotations

import json
from typing import NamedTuple

from fastgen_devcluster.cluster import DevCluster

WRITING = frozenset({"create", "update", "patch", "delete", "deletecollection"})


class Write(NamedTuple):
    """One request that changed something, or tried to."""

    account: str
    pod: str
    """The pod that asked, as its token says; empty where it was none."""
    verb: str
    what: str
    """RESOURCE/NAME, with the subresource after another slash."""
    namespace: str


class Audit:
    """What was written since it was made, or since the last `forget`."""

    def __init__(self, cluster: DevCluster) -> None:
        self._log = cluster.audit_log
        self._offset = 0
        self.forget()

    def forget(self) -> None:
        self._offset = self._log.stat().st_size

    def writes(self, account: str, namespace: str | None = None) -> list[Write]:
        """By a ServiceAccount (NAMESPACE:NAME), in one namespace or all; renewals of Leases are no news."""
        with self._log.open(encoding="utf-8") as log:
            log.seek(self._offset)
            lines = log.read().rpartition("\n")[0].splitlines()
        found = [_write(json.loads(line)) for line in lines]
        return [
            write
            for write in found
            if write.verb in WRITING
            and write.account == f"system:serviceaccount:{account}"
            and namespace in (None, write.namespace)
            and not write.what.startswith("leases/")
        ]


def _write(entry: dict[str, object]) -> Write:
    user: dict[str, object] = entry.get("user") or {}  # type: ignore[assignment]
    extra: dict[str, list[str]] = user.get("extra") or {}  # type: ignore[assignment]
    about: dict[str, str] = entry.get("objectRef") or {}  # type: ignore[assignment]
    what = "/".join(filter(None, (about.get("resource"), about.get("name"), about.get("subresource"))))
    pod = (extra.get("authentication.kubernetes.io/pod-name") or [""])[0]
    return Write(str(user.get("username", "")), pod, str(entry["verb"]), what, about.get("namespace", ""))
