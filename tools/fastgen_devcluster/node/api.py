"""The API server, over HTTP: requests, and lists that are followed for as long as they matter."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import ssl
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import aiohttp
import yaml

from fastgen_devcluster.errors import DevClusterError

KubeObject = dict[str, Any]
"""An object as the Kubernetes API gives it."""

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"

REQUEST_SECONDS = 30.0
WATCH_SECONDS = 300
"""How long one watch lasts before the next continues it."""
SILENT_SECONDS = 150.0
"""An API server sends a bookmark about every minute: a watch that says nothing for longer is dead."""
MAX_LINE_BYTES = 4 * 2**20
RETRY_FIRST_SECONDS = 0.2
RETRY_MOST_SECONDS = 5.0
GONE = 410


class ApiError(DevClusterError):
    """What the API server refused, or status 0 where it could not be reached."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Change(NamedTuple):
    """`replace`: these are all there are. `put` and `delete`: one of them is new, is different, or is gone."""

    kind: Literal["replace", "put", "delete"]
    objects: tuple[KubeObject, ...]


class Api:
    """One identity at one API server. Use it as an async context manager."""

    def __init__(self, kubeconfig: Path) -> None:
        """Raises DevClusterError for a file that is no kubeconfig."""
        try:
            config = yaml.safe_load(kubeconfig.read_text())
            context = _named(config, "contexts", config["current-context"])["context"]
            cluster = _named(config, "clusters", context["cluster"])["cluster"]
            user = _named(config, "users", context["user"])["user"]
            self.server: str = cluster["server"].rstrip("/")
            self.authority: bytes = _pem(kubeconfig, cluster, "certificate-authority")
            self._tls = ssl.create_default_context(cadata=self.authority.decode())
            certificate, key = _pem(kubeconfig, user, "client-certificate"), _pem(kubeconfig, user, "client-key")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DevClusterError(
                f"{kubeconfig} is no kubeconfig with a client certificate ({error!r}); "
                "`devcluster status` says where a cluster's is"
            ) from None
        self._identity = certificate + b"\n" + key
        self.identify(self._tls)
        self._session: aiohttp.ClientSession | None = None

    def identify(self, tls: ssl.SSLContext) -> None:
        """Have `tls` show our certificate."""
        with tempfile.NamedTemporaryFile() as both:  # OpenSSL reads files only
            both.write(self._identity)
            both.flush()
            tls.load_cert_chain(both.name)

    async def __aenter__(self) -> Api:
        connector = aiohttp.TCPConnector(ssl=self._tls, limit=0)
        self._session = aiohttp.ClientSession(self.server, connector=connector, read_bufsize=MAX_LINE_BYTES)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def request(
        self,
        method: str,
        path: str,
        body: KubeObject | None = None,
        *,
        params: Mapping[str, str] | None = None,
        content_type: str = JSON,
    ) -> KubeObject:
        """One request, tried once. Raises ApiError."""
        assert self._session is not None
        try:
            async with self._session.request(
                method,
                path,
                params=params,
                data=None if body is None else json.dumps(body, separators=(",", ":")),
                headers={"Content-Type": content_type, "Accept": JSON},
                timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS),
            ) as response:
                answer = await response.json(content_type=None)
                if response.status >= 400:
                    raise ApiError(response.status, _message(answer))
                return answer or {}
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise ApiError(0, f"{method} {self.server}{path}: {error!r}") from None

    async def follow(self, path: str, params: Mapping[str, str]) -> AsyncIterator[Change]:
        """What `path` lists, then every change, for ever: over dropped connections, restarts and expired versions."""
        delay = RETRY_FIRST_SECONDS
        while True:
            try:
                listed = await self.request("GET", path, params=params)
                yield Change("replace", tuple(listed["items"]))
                version = listed["metadata"]["resourceVersion"]
                while True:
                    async for kind, seen in self._watch(path, {**params, "resourceVersion": version}):
                        version = seen["metadata"]["resourceVersion"]
                        delay = RETRY_FIRST_SECONDS
                        if kind != "BOOKMARK":
                            yield Change("delete" if kind == "DELETED" else "put", (seen,))
            except ApiError:
                await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load, hides nothing
                delay = min(2 * delay, RETRY_MOST_SECONDS)

    async def _watch(self, path: str, params: Mapping[str, str]) -> AsyncIterator[tuple[str, KubeObject]]:
        """One watch until the server ends it. Raises ApiError where a new list is needed."""
        assert self._session is not None
        asked = {**params, "watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(WATCH_SECONDS)}
        try:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=REQUEST_SECONDS, sock_read=SILENT_SECONDS)
            async with self._session.get(path, params=asked, timeout=timeout) as response:
                if response.status >= 400:
                    raise ApiError(response.status, await response.text())
                async for line in response.content:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise ApiError(
                            event["object"].get("code", GONE), event["object"].get("message", "watch failed")
                        )
                    yield event["type"], event["object"]
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise ApiError(0, f"watch {self.server}{path}: {error!r}") from None


def _named(config: Mapping[str, Any], kind: str, name: str) -> Mapping[str, Any]:
    for entry in config[kind]:
        if entry["name"] == name:
            found: Mapping[str, Any] = entry
            return found
    raise KeyError(f"{kind}: {name}")


def _pem(kubeconfig: Path, values: Mapping[str, str], name: str) -> bytes:
    if f"{name}-data" in values:
        return base64.b64decode(values[f"{name}-data"])
    return (kubeconfig.parent / values[name]).read_bytes()


def _message(answer: Any) -> str:
    return str(answer.get("message", answer)) if isinstance(answer, dict) else str(answer)
