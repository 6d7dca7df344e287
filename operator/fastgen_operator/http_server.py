"""What the operator says of itself over HTTP: /healthz, /readyz, /metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest

from fastgen.errors import FastGenError

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
State = Literal["starting", "standby", "leader", "stopping"]
READY: frozenset[State] = frozenset({"standby", "leader"})
"""A standby is ready: it would act within seconds."""


class ListenError(FastGenError):
    """The address could not be taken."""


class HttpServer:
    """`await start()`, then `await stop()`."""

    def __init__(self, registry: CollectorRegistry, state: Callable[[], State]) -> None:
        self._registry, self._state = registry, state
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)

    async def start(self, host: str, port: int) -> str:
        """Listen; the address. Raises ListenError."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            raise ListenError(f"{host}:{port} cannot be listened on: {error.strerror}; choose another --port") from None
        address = self._runner.addresses[0]
        return f"{address[0]}:{address[1]}"

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        """Answering at all is being alive: whatever ends, ends the process."""
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        state = self._state()
        return web.Response(text=f"{state}\n", status=200 if state in READY else 503)

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": METRICS_TYPE})
