"""ConfigMaps and Secrets that a pod names."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Protocol

from fastgen_devcluster.errors import DevClusterError
from fastgen_devcluster.node.api import Api, ApiError, KubeObject

NOT_FOUND = 404
SINGULAR = {"configmaps": "configmap", "secrets": "secret"}


class MissingReferenceError(DevClusterError):
    """A ConfigMap, a Secret or a key of one that a pod needs does not exist (yet)."""


class Objects(Protocol):
    """Where they are read from."""

    async def data(self, kind: str, name: str) -> Mapping[str, bytes] | None:
        """The data of one of the pod's namespace; None where there is none. `kind` is "configmaps" or "secrets"."""


class NamespaceObjects:
    """Those of one namespace, from the API server."""

    def __init__(self, api: Api, namespace: str) -> None:
        self._api = api
        self._namespace = namespace

    async def data(self, kind: str, name: str) -> Mapping[str, bytes] | None:
        try:
            return contents(await self._api.request("GET", f"/api/v1/namespaces/{self._namespace}/{kind}/{name}"))
        except ApiError as error:
            if error.status == NOT_FOUND:
                return None
            raise


def contents(found: KubeObject) -> Mapping[str, bytes]:
    """Key to value. A Secret's data is base64, as a ConfigMap's binaryData."""
    encoded = {**(found.get("binaryData") or {})}
    plain = {}
    if found.get("kind") == "Secret":
        encoded |= found.get("data") or {}
    else:
        plain = {key: value.encode() for key, value in (found.get("data") or {}).items()}
    return {**plain, **{key: base64.b64decode(value) for key, value in encoded.items()}}


async def read(objects: Objects, kind: str, reference: Mapping[str, Any]) -> Mapping[str, bytes] | None:
    """What `{name, optional}` refers to; None where it is optional and missing. Raises MissingReferenceError."""
    found = await objects.data(kind, reference.get("name", ""))
    if found is None and not reference.get("optional"):
        raise MissingReferenceError(f'{SINGULAR[kind]} "{reference.get("name", "")}" not found')
    return found


async def read_key(objects: Objects, kind: str, reference: Mapping[str, Any]) -> bytes | None:
    """What `{name, key, optional}` refers to, as `read`."""
    found = await read(objects, kind, reference)
    if found is None or reference["key"] in found:
        return None if found is None else found[reference["key"]]
    if reference.get("optional"):
        return None
    raise MissingReferenceError(f"couldn't find key {reference['key']} in {SINGULAR[kind]} {reference['name']}")
