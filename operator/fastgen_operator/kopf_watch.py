"""Hearing of FastGenDeployments through kopf: it watches, and tells; it decides and writes nothing.

kopf lives in a thread with an event loop of its own. There it may end all tasks it finds, as it does when it stops,
and a slow moment of ours does not delay its watch. `on.event` puts neither finalizers nor annotations on a resource.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import kopf

from fastgen.contract import labels
from fastgen_operator.api.client import WATCH_MARGIN_SECONDS, WATCH_SECONDS

log = logging.getLogger("fastgen.operator.watch")

Tell = Callable[[str | None, Mapping[str, Any]], None]
"""Told the type of an event (None: it was listed) and the object."""

RESTART_SECONDS = 2.0
STOP_SECONDS = 1.5


class KopfWatch:
    """Tells, on the loop that `run` runs in, of every event of a FastGenDeployment."""

    def __init__(self, namespaces: Sequence[str], tell: Tell, on_error: Callable[[], None]) -> None:
        self._namespaces, self._tell, self._on_error = tuple(namespaces), tell, on_error
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kopf", daemon=True)

    async def run(self) -> None:
        """Until cancelled. It writes nothing, so nothing is lost where it does not end in time."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        try:
            await asyncio.Event().wait()
        finally:
            self._stop.set()
            await asyncio.to_thread(self._thread.join, STOP_SECONDS)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                asyncio.run(self._operator())
            except Exception as error:
                log.warning("kopf stopped watching, and is started again: %s", error)
            if not self._stop.is_set():
                self._hand_over(self._on_error)
                self._stop.wait(RESTART_SECONDS)

    async def _operator(self) -> None:
        await kopf.operator(
            registry=self._registry(),
            settings=_settings(),
            standalone=True,
            clusterwide=not self._namespaces,
            namespaces=list(self._namespaces),
            stop_flag=self._stop,
        )

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(kopf.login_via_client)

        @kopf.on.event(labels.GROUP, labels.VERSION, labels.PLURAL, registry=registry)
        async def heard(event: Any, **_: Any) -> None:
            self._hand_over(self._tell, event["type"], event["object"])

        return registry

    def _hand_over(self, what: Callable[..., None], *arguments: Any) -> None:
        """Call it on our own loop, which may be gone already."""
        try:
            self._loop.call_soon_threadsafe(what, *arguments)
        except RuntimeError:
            self._stop.set()


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.peering.standalone = True
    # No rights to read namespaces and CRDs are needed: both are given.
    settings.scanning.disabled = True
    settings.watching.server_timeout = WATCH_SECONDS
    settings.watching.client_timeout = WATCH_SECONDS + WATCH_MARGIN_SECONDS
    settings.watching.inactivity_timeout = WATCH_SECONDS + WATCH_MARGIN_SECONDS
    settings.networking.request_timeout = 30
    return settings
