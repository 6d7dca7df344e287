"""Objects as plain JSON: get, list, watch, apply, patch, delete."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import aiohttp
from kubernetes.aio import client

from fastgen.contract import labels
from fastgen_operator.api.access import reload
from fastgen_operator.api.errors import ApiError
from fastgen_operator.api.kinds import Kind

Json = Mapping[str, Any]

REQUEST_SECONDS = 30.0
PAGE = 500
"""Objects in one answer to a list."""
WATCH_SECONDS = 120
"""A watch is ended by the server after this long, and given up by us a little later: one that was silently dropped on
the way is noticed within that time."""
WATCH_MARGIN_SECONDS = 15

_APPLY, _MERGE = "application/apply-patch+yaml", "application/merge-patch+json"


class Api:
    """Thin, over the official client's transport. Raises ApiError, or aiohttp's errors where nobody answers.

    `before_write` is called before anything is written, and raises where that may not be done any more.
    """

    def __init__(self, transport: client.ApiClient, before_write: Callable[[], None] = lambda: None) -> None:
        self.transport = transport
        self.before_write = before_write

    async def get(self, kind: Kind, namespace: str, name: str) -> Json:
        return await self._json("GET", kind.path(namespace, name))

    async def get_or_none(self, kind: Kind, namespace: str, name: str) -> Json | None:
        try:
            return await self.get(kind, namespace, name)
        except ApiError as error:
            if error.is_gone:
                return None
            raise

    async def find(self, kind: Kind, namespace: str, name: str) -> Json | None:
        """One object by name, with the right to list alone."""
        found = await self._json("GET", kind.path(namespace), {"fieldSelector": f"metadata.name={name}"})
        items = found.get("items") or ()
        return {"apiVersion": kind.api_version, "kind": kind.kind, **items[0]} if items else None

    async def create(self, kind: Kind, namespace: str, body: Json) -> Json:
        return await self._json("POST", kind.path(namespace), body=body, field_manager=True)

    async def replace(self, kind: Kind, namespace: str, name: str, body: Json) -> Json:
        return await self._json("PUT", kind.path(namespace, name), body=body, field_manager=True)

    async def apply(
        self, kind: Kind, namespace: str, body: Json, *, part: str | None = None, force: bool = False
    ) -> Json:
        """Server-side apply as FIELD_MANAGER. Without `force`, a field that another manager owns is a 409."""
        path = kind.path(namespace, body["metadata"]["name"], part)
        query = {"force": "true"} if force else {}
        return await self._json("PATCH", path, query, body, content_type=_APPLY, field_manager=True)

    async def merge(self, kind: Kind, namespace: str, name: str, patch: Json) -> Json:
        """A JSON merge patch: null takes a field away, and a list is replaced as a whole."""
        return await self._json(
            "PATCH", kind.path(namespace, name), body=patch, content_type=_MERGE, field_manager=True
        )

    async def delete(self, kind: Kind, namespace: str, name: str, *, uid: str) -> None:
        """Delete this very object, and not another that took its name meanwhile."""
        body = {"preconditions": {"uid": uid}, "propagationPolicy": "Background"}
        await self._json("DELETE", kind.path(namespace, name), body=body)

    async def serves(self, kind: Kind) -> bool:
        """Whether the API server knows the kind: everybody who is somebody may ask."""
        root = f"/apis/{kind.api_version}" if kind.group else f"/api/{kind.api_version}"
        try:
            found = await self._json("GET", root)
        except ApiError as error:
            if error.is_gone:
                return False
            raise
        return any(resource.get("name") == kind.plural for resource in found.get("resources") or ())

    async def list_all(self, kind: Kind, namespace: str | None, selector: str = "") -> tuple[list[Json], str]:
        """All objects, page by page, and the version that they were read at."""
        items: list[Json] = []
        query = {"limit": str(PAGE), **({"labelSelector": selector} if selector else {})}
        while True:
            page = await self._json("GET", kind.path(namespace), query)
            # Items of a list do not say what they are.
            items += [{"apiVersion": kind.api_version, "kind": kind.kind, **item} for item in page.get("items") or ()]
            metadata = page.get("metadata") or {}
            if not metadata.get("continue"):
                return items, str(metadata.get("resourceVersion", ""))
            query["continue"] = metadata["continue"]

    async def watch(self, kind: Kind, namespace: str | None, version: str, selector: str = "") -> AsyncIterator[Json]:
        """Events from `version` on, until the server ends the watch. Raises ApiError 410 where it is too old."""
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(WATCH_SECONDS),
            **({"labelSelector": selector} if selector else {}),
        }
        timeout = aiohttp.ClientTimeout(total=WATCH_SECONDS + WATCH_MARGIN_SECONDS, sock_connect=REQUEST_SECONDS)
        response = await self._send("GET", kind.path(namespace), query, timeout=timeout)
        try:
            if response.status != 200:
                raise ApiError.of(response.status, await response.read())
            async for line in _lines(response):
                event = json.loads(line)
                if event.get("type") == "ERROR":
                    said = event.get("object") or {}
                    raise ApiError(int(said.get("code") or 500), str(said.get("reason")), str(said.get("message")))
                yield event
        finally:
            response.close()

    async def _json(
        self,
        method: str,
        path: str,
        query: Json | None = None,
        body: Json | None = None,
        *,
        content_type: str = "application/json",
        field_manager: bool = False,
    ) -> Json:
        if method != "GET":
            self.before_write()
        query = {**(query or {}), **({"fieldManager": labels.FIELD_MANAGER} if field_manager else {})}
        timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
        response = await self._send(method, path, query, body, content_type=content_type, timeout=timeout)
        try:
            data = await response.read()
        finally:
            response.release()
        if not 200 <= response.status <= 299:
            if response.status == 401:
                await reload(self.transport)
            raise ApiError.of(response.status, data)
        found: Json = json.loads(data)
        return found

    async def _send(
        self,
        method: str,
        path: str,
        query: Json,
        body: Json | None = None,
        *,
        content_type: str = "application/json",
        timeout: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        transport: Any = self.transport
        request = await transport.param_serialize(
            method,
            path,
            query_params=list(query.items()),
            header_params={"Accept": "application/json", "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
        )
        method, url, headers, body, _ = request
        answer = await transport.rest_client.request(method, url, headers=headers, body=body, _request_timeout=timeout)
        response: aiohttp.ClientResponse = answer.response
        return response


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Whole lines of any length: an object can be longer than the HTTP library's own readline takes."""
    rest = b""
    async for piece in response.content.iter_any():
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            if line.strip():
                yield line
