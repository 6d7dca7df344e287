"""Writing the resource's `scale`: the one thing that the autoscaler writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from kubernetes.aio import client

from fastgen.contract import labels
from fastgen.errors import FastGenError
from fastgen_operator.key import Key

FIELD_MANAGER = "fastgen-autoscaler"
"""Who managedFields says wrote spec.replicas."""
_CONFLICT, _NOT_FOUND = 409, 404


class ScaleChanged(FastGenError):
    """The resource is not any more what the decision was made on: look again."""


class WriteScale(Protocol):
    """Sets spec.replicas through the scale subresource."""

    async def __call__(self, key: Key, replicas: int) -> None:
        """Raises ScaleChanged where somebody was faster; anything else raised is tried again at the next look."""


class ScaleWriter:
    """Patches `scale`, if the resource is still the version that was decided on."""

    def __init__(self, api: client.ApiClient, resource_version: Callable[[Key], str | None]) -> None:
        self._objects = client.CustomObjectsApi(api)
        self._resource_version = resource_version

    async def __call__(self, key: Key, replicas: int) -> None:
        """Set spec.replicas. Raises ScaleChanged, or kubernetes' ApiException."""
        metadata = {"resourceVersion": self._resource_version(key)}
        try:
            await self._objects.patch_namespaced_custom_object_scale(
                labels.GROUP,
                labels.VERSION,
                key.namespace,
                labels.PLURAL,
                key.name,
                {"metadata": metadata, "spec": {"replicas": replicas}},
                field_manager=FIELD_MANAGER,
                _content_type="application/merge-patch+json",
            )
        except client.ApiException as error:
            if error.status in (_CONFLICT, _NOT_FOUND):
                raise ScaleChanged(f"{key} changed, or went, before its scale was written") from None
            raise
