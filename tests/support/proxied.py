"""A service proxy with a stand-in for the API server, which says what Services and pods there are."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiohttp import web

from fastgen_devcluster.certificates import Authority
from fastgen_devcluster.ports import claim_port
from fastgen_devcluster.service_proxy import serving
from fastgen_devcluster.services import Address

LABELS = {"app": "llama"}


class ApiStandIn:
    """Lists and watches Services and pods, over TLS."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, dict[str, Any]]] = {"services": {}, "pods": {}}
        self.version = 1
        self._watches: list[tuple[str, asyncio.Queue[dict[str, Any] | None]]] = []

    def add_service(self, name: str, *, port: int, target: int, **spec: Any) -> None:
        spec = {"selector": LABELS, "ports": [{"port": port, "targetPort": target}], **spec}
        self.put("services", {"metadata": {"namespace": "default", "name": name}, "spec": spec})

    def add_pod(self, name: str, address: str, *, ready: bool = True) -> None:
        condition = {"type": "Ready", "status": str(ready)}
        self.put(
            "pods",
            {
                "metadata": {"namespace": "default", "name": name, "labels": LABELS},
                "spec": {"containers": [{"name": "main"}]},
                "status": {"podIP": address, "conditions": [condition]},
            },
        )

    def put(self, kind: str, item: dict[str, Any]) -> None:
        name = item["metadata"]["name"]
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        event = "MODIFIED" if name in self.objects[kind] else "ADDED"
        self.objects[kind][name] = item
        self._tell(kind, {"type": event, "object": item})

    def remove(self, kind: str, name: str) -> None:
        self._tell(kind, {"type": "DELETED", "object": self.objects[kind].pop(name)})

    def end_watches(self, event: dict[str, Any] | None = None) -> None:
        """Each ends, after `event` if there is one."""
        for kind in self.objects:
            if event is not None:
                self._tell(kind, event)
        for _, queue in self._watches:
            queue.put_nowait(None)
        self._watches.clear()

    def _tell(self, kind: str, event: dict[str, Any]) -> None:
        for watched, queue in self._watches:
            if watched == kind:
                queue.put_nowait(event)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        kind = request.match_info["kind"]
        if "watch" not in request.query:
            items = list(self.objects[kind].values())
            return web.json_response({"items": items, "metadata": {"resourceVersion": str(self.version)}})
        queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._watches.append((kind, queue))
        stream = web.StreamResponse()
        await stream.prepare(request)
        while (event := await queue.get()) is not None:
            await stream.write(json.dumps(event).encode() + b"\n")
        return stream


class Proxied:
    """The proxy under test, and what is behind it."""

    def __init__(self, url: str, port: int, api: ApiStandIn) -> None:
        self.url = url
        self.port = port
        self.api = api


@contextlib.asynccontextmanager
async def a_proxy(folder: Path, *static: tuple[str, Address]) -> AsyncIterator[Proxied]:
    """Listening, and knowing nothing yet but what `static` names."""
    authority = Authority.new("test")
    (folder / "authority.crt").write_bytes(authority.certificate)
    certificate, key = authority.client("proxy").write(folder, "proxy")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(folder / "authority.crt"))
    tls.verify_mode = ssl.CERT_REQUIRED
    server = authority.server("api", names=("localhost",), addresses=("127.0.0.1",))
    tls.load_cert_chain(*server.write(folder, "api"))
    api, api_port, port = ApiStandIn(), claim_port(), claim_port()
    app = web.Application()
    app.router.add_get("/api/v1/{kind}", api.answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", api_port.port, ssl_context=tls).start()
    arguments = argparse.Namespace(
        port=port.port,
        server=f"https://127.0.0.1:{api_port.port}",
        authority=str(folder / "authority.crt"),
        certificate=str(certificate),
        key=str(key),
        static=list(static),
    )
    try:
        async with serving(arguments):
            yield Proxied(f"http://127.0.0.1:{port.port}", port.port, api)
    finally:
        await runner.cleanup()
        api_port.release()
        port.release()
