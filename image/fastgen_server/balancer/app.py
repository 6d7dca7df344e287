"""A balancer's life: listen, say where, serve, and on SIGTERM be not ready at once, finish, and leave."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
from collections.abc import Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import grpc
from aiohttp import web

from fastgen.errors import FastGenError
from fastgen_server.balancer.config import BalancerConfig
from fastgen_server.balancer.discovery.base import Discovery
from fastgen_server.balancer.gate import Gate
from fastgen_server.balancer.grpc_proxy import GrpcProxy
from fastgen_server.balancer.http_errors import error_response
from fastgen_server.balancer.http_proxy import HttpProxy
from fastgen_server.balancer.metrics import BalancerMetrics
from fastgen_server.balancer.policies import make_policy
from fastgen_server.balancer.pool import Pool
from fastgen_server.balancer.prober import Prober
from fastgen_server.balancer.replica import Replica

log = logging.getLogger("fastgen.balancer")

KEEPALIVE_SECONDS = 15.0
"""Idle connections to replicas are dropped before any server would drop them under a request."""

_REACHED_AT = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - looked up, not listened on
"""What to say to those on this machine when every address is listened on."""

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class ListenError(FastGenError):
    """An address could not be taken."""


class Balancer:
    """One balancer: `async with Balancer(config, discovery) as balancer: await balancer.run_until_signal()`."""

    def __init__(self, config: BalancerConfig, discovery: Discovery) -> None:
        self.config = config
        self.gate = Gate(config)
        self.metrics = BalancerMetrics()
        self.pool = Pool(config, make_policy(config.policy, balancers=config.balancers), self.metrics)
        self.http_address = ""
        self.grpc_address = ""
        self._discovery = discovery
        self._background: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        config = self.config
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_SECONDS),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=config.connect_seconds),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            max_line_size=config.max_header_bytes,
            max_field_size=config.max_header_bytes,
            read_bufsize=2**16,
        )
        self._prober = Prober(config, self.pool, self._session)
        self._grpc_proxy = GrpcProxy(config, self.pool, self.gate, self.metrics)
        self._http_proxy = HttpProxy(config, self.pool, self.gate, self.metrics, self._session)
        self.pool.on_forgotten = self._forget
        try:
            await self._listen()
        except BaseException:
            await self._session.close()
            raise
        self._spawn(self._discovery.run(self.pool.update), "discovery")
        return self

    async def _listen(self) -> None:
        config = self.config
        self._runner = web.ServerRunner(
            web.Server(
                self._handle,
                handler_cancellation=True,
                access_log=None,
                max_line_size=config.max_header_bytes,
                max_field_size=config.max_header_bytes,
                tcp_keepalive=True,
            ),
            shutdown_timeout=1.0,
        )
        await self._runner.setup()
        listener = _bind(config.host, config.port)
        self._site = web.SockSite(self._runner, listener, backlog=1024)
        await self._site.start()
        port = listener.getsockname()[1]
        self.http_address = _address(_REACHED_AT.get(config.host, config.host), port)
        self._grpc_server = grpc.aio.server(
            handlers=(self._grpc_proxy,),
            options=(
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", config.max_body_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_metadata_size", config.max_header_bytes),
                ("grpc.absolute_max_metadata_size", config.max_header_bytes),
            ),
        )
        try:
            grpc_port = self._grpc_server.add_insecure_port(_address(config.host, config.grpc_port))
        except RuntimeError:
            await self._runner.cleanup()
            raise ListenError(
                f"{config.host}:{config.grpc_port} cannot be listened on; is another balancer running? "
                "--grpc-port 0 takes a free port"
            ) from None
        await self._grpc_server.start()
        self.grpc_address = _address(_REACHED_AT.get(config.host, config.host), grpc_port)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._background.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("%s ended unexpectedly", task.get_name(), exc_info=error)

    def _forget(self, replica: Replica) -> None:
        self._prober.stop(replica)
        self.metrics.forget(replica.name)
        self._spawn(self._grpc_proxy.forget(replica.address.grpc), f"close channel {replica.name}")

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/healthz":
            return web.Response(text="ok\n")
        if request.path == "/readyz":
            if self.gate.draining:
                return error_response(503, "draining", "draining")
            return web.Response(text="ok\n")
        if request.path == "/metrics":
            body = self.metrics.render(self.pool)
            return web.Response(body=body, headers={"Content-Type": METRICS_TYPE})
        return await self._http_proxy.handle(request)

    async def run_until_signal(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain. A second signal ends the drain."""
        stop = asyncio.Event()
        hurry = asyncio.Event()

        def on_signal() -> None:
            (hurry if stop.is_set() else stop).set()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal)
        self.write_address_file()
        await stop.wait()
        draining = asyncio.ensure_future(self.drain())
        hurrying = asyncio.ensure_future(hurry.wait())
        await asyncio.wait([draining, hurrying], return_when=asyncio.FIRST_COMPLETED)
        for task in (draining, hurrying):
            task.cancel()
        await asyncio.gather(draining, hurrying, return_exceptions=True)

    async def drain(self) -> None:
        """Not ready from now on; after lingering nothing new; what is in flight may finish within the grace."""
        self.gate.draining = True
        log.info("draining: %d requests in flight", self.gate.in_flight)
        await asyncio.sleep(self.config.linger_seconds)
        self.gate.closed = True
        await self._site.stop()
        # Tells gRPC clients at once that their next call belongs elsewhere; what runs goes on.
        self._spawn(self._grpc_server.stop(self.config.grace_seconds + 1.0), "gRPC drain")
        try:
            async with asyncio.timeout(self.config.grace_seconds):
                await self.gate.wait_empty()
            log.info("drained")
        except TimeoutError:
            log.warning("the grace of %g s is over: %d requests cut", self.config.grace_seconds, self.gate.in_flight)

    def write_address_file(self) -> None:
        """Say where we listen, whole or not at all."""
        if self.config.address_file is None:
            return
        path = Path(self.config.address_file)
        partial = path.with_name(path.name + f".{os.getpid()}")
        text = json.dumps({"http": self.http_address, "grpc": self.grpc_address, "pid": os.getpid()})
        partial.write_text(text + "\n", encoding="utf-8")
        partial.replace(path)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.gate.draining = self.gate.closed = True
        for task in list(self._background):
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._grpc_server.stop(0)
        await self._runner.cleanup()
        await self._prober.close()
        await self._grpc_proxy.close()
        await self._session.close()


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, proto)
    except OSError as error:
        raise ListenError(f"--host {host}: {error.strerror}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise ListenError(
            f"{host}:{port} cannot be listened on: {error.strerror}; is another balancer running? "
            "--port 0 takes a free port"
        ) from None
    return listener


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
