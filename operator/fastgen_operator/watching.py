"""Following one kind of object: list, watch from there, and list again only where the watch cannot go on."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

import aiohttp

from fastgen_operator.api.client import Api
from fastgen_operator.api.errors import ApiError
from fastgen_operator.api.kinds import Kind
from fastgen_operator.loop.backoff import backoff_seconds
from fastgen_operator.table import Table

log = logging.getLogger("fastgen.operator.watch")

BETWEEN_SECONDS = 0.2
"""Between one watch and the next: a server that ends them at once is not asked without a pause."""
_TOO_OLD = 410


class Follower:
    """Keeps a table as the cluster is, in one namespace or in all (None)."""

    def __init__(
        self,
        api: Api,
        kind: Kind,
        namespace: str | None,
        selector: str,
        table: Table,
        on_error: Callable[[Kind], None] = lambda _kind: None,
    ) -> None:
        self._api, self._kind, self._namespace, self._selector = api, kind, namespace, selector
        self._table = table
        self._on_error = on_error
        self._version, self._failures = "", 0
        self.is_synced = asyncio.Event()
        """Set once the table holds all there is."""

    async def run(self) -> None:
        """Until cancelled. What is known stays while the API server cannot be reached."""
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._watch()
                self._failures = 0
                await asyncio.sleep(BETWEEN_SECONDS)
            except Exception as error:
                if isinstance(error, ApiError) and error.status == _TOO_OLD:
                    self._version = ""
                    continue
                await self._pause(error)

    async def _pause(self, error: Exception) -> None:
        self._failures += 1
        self._on_error(self._kind)
        delay = backoff_seconds(self._failures, random.random())  # noqa: S311 - spreads retries
        is_usual = isinstance(error, ApiError | aiohttp.ClientError | OSError | ValueError)
        words = str(error) or type(error).__name__
        log.warning("%s: %s; again in %.1f s", self._kind.plural, words, delay, exc_info=None if is_usual else error)
        if not is_usual:
            self._version = ""
        await asyncio.sleep(delay)

    async def _list(self) -> None:
        things, self._version = await self._api.list_all(self._kind, self._namespace, self._selector)
        self._table.replace(self._namespace, things, self._version)
        self.is_synced.set()

    async def _watch(self) -> None:
        async for event in self._api.watch(self._kind, self._namespace, self._version, self._selector):
            thing = event["object"]
            self._version, self._failures = thing["metadata"]["resourceVersion"], 0
            if event["type"] == "DELETED":
                self._table.drop(thing)
            elif event["type"] in ("ADDED", "MODIFIED"):
                self._table.put(thing)
