"""Keeping the files of a pod's volumes as the API server has them: by watching what they are made of, not by asking."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from fastgen_devcluster.node.api import Api, ApiError
from fastgen_devcluster.node.fields import FieldError
from fastgen_devcluster.node.references import MissingReferenceError
from fastgen_devcluster.node.tokens import PodTokens
from fastgen_devcluster.node.volumes import MountError, VolumeMaker, sources_of

RETRY_SECONDS = 5.0


class CurrentFiles:
    """The volumes of one pod. `run` as long as it lives; `changed` where something about the pod itself did."""

    def __init__(
        self, volumes: Sequence[Mapping[str, Any]], maker: VolumeMaker, tokens: PodTokens, api: Api, namespace: str
    ) -> None:
        self._volumes = [volume for volume in volumes if sources_of(volume)]
        self._maker = maker
        self._tokens = tokens
        self._api = api
        self._namespace = namespace
        self.changed = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled. What cannot be had now leaves the files as they are."""
        if not self._volumes:
            return
        read = {source.reads for volume in self._volumes for source in sources_of(volume)} - {None}
        watching = [asyncio.create_task(self._watch(*one)) for one in read if one is not None]
        wait_seconds = self._tokens.renew_in_seconds()
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_seconds):
                        await self.changed.wait()
                self.changed.clear()
                is_current = await self._make_all()
                wait_seconds = self._tokens.renew_in_seconds() if is_current else RETRY_SECONDS
                if (
                    wait_seconds is not None
                ):  # a token whose renewal is held up by another file is not asked for at once
                    wait_seconds = max(wait_seconds, RETRY_SECONDS)
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)

    async def _make_all(self) -> bool:
        """False where the API server has to be asked again."""
        is_current = True
        for volume in self._volumes:
            try:
                await self._maker.make(volume)
            except (MissingReferenceError, FieldError, MountError):
                continue  # the watch will tell when it is there again
            except ApiError:
                is_current = False
        return is_current

    async def _watch(self, resource: str, name: str) -> None:
        path = f"/api/v1/namespaces/{self._namespace}/{resource}"
        is_first = True
        async for _ in self._api.follow(path, {"fieldSelector": f"metadata.name={name}"}):
            if not is_first:  # the first says how it is, and so it was mounted
                self.changed.set()
            is_first = False
