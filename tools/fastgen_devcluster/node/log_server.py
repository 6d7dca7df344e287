"""What of a kubelet's own server `kubectl logs` needs. Only the API server may ask: it shows its client certificate."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from aiohttp import web

from fastgen_devcluster.node.addresses import AddressPool
from fastgen_devcluster.node.api import Api

CHUNK_BYTES = 64 * 1024
LOOK_SECONDS = 0.25
"""How often a log that is followed is looked at."""


class ContainerLog(NamedTuple):
    """The logs of one container."""

    folder: Path
    restarts: int
    is_running: bool


FindLog = Callable[[str, str, str], ContainerLog | None]
"""By namespace, pod and container."""


class LogServer:
    """Listens on the addresses of all nodes. Use it as an async context manager."""

    def __init__(self, pool: AddressPool, api: Api, find: FindLog) -> None:
        self._pool = pool
        self._tls = _tls(api)
        self._find = find
        application = web.Application()
        application.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._logs)
        application.router.add_route("*", "/{other:.*}", self._other)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)

    async def __aenter__(self) -> LogServer:
        await self._runner.setup()
        for socket in self._pool.sockets:
            await web.SockSite(self._runner, socket, ssl_context=self._tls).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _other(self, request: web.Request) -> web.Response:
        return web.Response(
            status=501,
            text="a process node has logs only; its pods are processes of this machine: ps, /proc and gdb work",
        )

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        names = (request.match_info["namespace"], request.match_info["pod"], request.match_info["container"])
        found = self._find(*names)
        run = -1 if found is None else found.restarts - (request.query.get("previous") == "true")
        if found is None or not (found.folder / f"{run}.log").exists():
            before = "previous terminated " if request.query.get("previous") == "true" else ""
            text = f'{before}container "{names[2]}" in pod "{names[1]}" not found: it has no log'
            return web.Response(status=400, text=text)  # as a kubelet: an API server passes on the text of no other
        log = found.folder / f"{run}.log"
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        position = await self._send(response, log, _begin_of_tail(log, request.query.get("tailLines")))
        while request.query.get("follow") == "true" and log.exists():
            now = self._find(*names)
            if now is None or not now.is_running or now.restarts != run:
                await self._send(response, log, position)
                break
            await asyncio.sleep(LOOK_SECONDS)
            position = await self._send(response, log, position)
        return response

    async def _send(self, response: web.StreamResponse, log: Path, position: int) -> int:
        """Send what comes after `position`; the position after that. A log that was moved aside begins anew."""
        with log.open("rb") as file:
            file.seek(position if position <= os.fstat(file.fileno()).st_size else 0)
            while chunk := file.read(CHUNK_BYTES):
                await response.write(chunk)
            return file.tell()


def _tls(api: Api) -> ssl.SSLContext:
    """With our own certificate (an API server does not ask for more), for clients of the same authority only."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=api.authority.decode())
    context.verify_mode = ssl.CERT_REQUIRED
    api.identify(context)
    return context


def _begin_of_tail(log: Path, lines: str | None) -> int:
    """Where the last so many lines begin."""
    if not lines or not lines.isdigit():
        return 0
    content = log.read_bytes()
    kept = content.splitlines(keepends=True)[-int(lines) :] if int(lines) else []
    return len(content) - sum(map(len, kept))
