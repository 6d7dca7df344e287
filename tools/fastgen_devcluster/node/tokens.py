"""Service-account tokens, requested for one pod and renewed in time."""

from __future__ import annotations

import time

from fastgen_devcluster.node.api import Api, KubeObject

RENEW_AFTER = 0.8
"""The share of its life after which a token is replaced, as a kubelet does."""


class PodTokens:
    """Tokens bound to one pod: they end when it is gone."""

    def __init__(self, api: Api, pod: KubeObject) -> None:
        self._api = api
        self._metadata = pod["metadata"]
        self._account = pod["spec"].get("serviceAccountName", "default")
        self._held: dict[tuple[str | None, int], tuple[str, float]] = {}

    async def token(self, audience: str | None, lifetime_seconds: int) -> str:
        """One that is good for a while yet. Raises ApiError."""
        wanted = (audience, lifetime_seconds)
        text, renew_at = self._held.get(wanted, ("", 0.0))
        if time.monotonic() >= renew_at:
            text = await self._request(audience, lifetime_seconds)
            self._held[wanted] = (text, time.monotonic() + RENEW_AFTER * lifetime_seconds)
        return text

    def renew_in_seconds(self) -> float | None:
        """When the next of those handed out is to be replaced; None where there are none."""
        due = min((renew_at for _, renew_at in self._held.values()), default=None)
        return None if due is None else max(0.0, due - time.monotonic())

    async def _request(self, audience: str | None, lifetime_seconds: int) -> str:
        namespace = self._metadata["namespace"]
        bound = {"apiVersion": "v1", "kind": "Pod", "name": self._metadata["name"], "uid": self._metadata["uid"]}
        spec: KubeObject = {"expirationSeconds": lifetime_seconds, "boundObjectRef": bound}
        if audience:
            spec["audiences"] = [audience]
        answer = await self._api.request(
            "POST",
            f"/api/v1/namespaces/{namespace}/serviceaccounts/{self._account}/token",
            {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec},
        )
        return str(answer["status"]["token"])
