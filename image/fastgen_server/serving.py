"""One server, from its settings to its exit: ports, engine, HTTP, gRPC, and the way down."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from aiohttp import web

from fastgen.config import EngineConfig, EngineInfo
from fastgen.errors import UsageError
from fastgen.process.async_engine import AsyncEngine
from fastgen.runtime.hub import resolve_model_folder
from fastgen_server.backend import GenerationBackend
from fastgen_server.generation import GenerationService
from fastgen_server.grpc.server import GrpcServer
from fastgen_server.http.app import build_app
from fastgen_server.lifecycle import Lifecycle
from fastgen_server.metrics import ServerMetrics
from fastgen_server.settings import ServerConfig

log = logging.getLogger("fastgen.server")
FINISH_SECONDS = 5.0
HEALTH_SECONDS = 0.5
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - compared with, not listened on
StartedT = TypeVar("StartedT")


async def serve(engine_config: EngineConfig, config: ServerConfig) -> int:
    """Load the model and serve it until a signal. Raises FastGenError where it cannot."""
    async with AsyncExitStack() as closing:
        # The ports first: one in use is known at once, not after minutes of loading.
        http_socket = bind_http(config.host, config.port)
        closing.callback(http_socket.close)
        grpc_server = GrpcServer(config.host, config.grpc_port, config.max_body_bytes)
        closing.push_async_callback(grpc_server.stop)
        name = config.served_name(engine_config.model)
        log.info("loading %s, to be served as '%s'", engine_config.model, name)
        engine = await _unless_signalled(_start_engine(engine_config))
        if engine is None:
            _leave_at_once()
        closing.push_async_callback(engine.close)
        _log_engine(engine.info)
        await serve_backend(engine, config, name, http_socket, grpc_server)
    return 0


def _leave_at_once() -> NoReturn:
    """Exit 0 without waiting for the thread that loads: it cannot be interrupted, and nothing has been promised to
    anybody yet. The engine process ends when its socket closes."""
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)


async def _start_engine(config: EngineConfig) -> AsyncEngine:
    # A model that is not there is said at once, not after seconds of importing what would load it.
    await asyncio.to_thread(resolve_model_folder, config.model, config.revision)
    return await AsyncEngine.start(config)


async def serve_backend(
    backend: GenerationBackend, config: ServerConfig, name: str, http_socket: socket.socket, grpc_server: GrpcServer
) -> None:
    """Serve a running engine on these ports until a signal, then drain."""
    metrics = ServerMetrics(name, backend.info, config.sla)
    backend.on_stats(metrics.step)
    service = GenerationService(backend, config, metrics, name)
    lifecycle = Lifecycle(service)
    lifecycle.install_signals()
    # handler_cancellation: a client that goes away cancels its handler, which cancels its sequences.
    runner = web.AppRunner(
        build_app(service, lifecycle), handler_cancellation=True, access_log=None, shutdown_timeout=FINISH_SECONDS
    )
    await runner.setup()
    health = asyncio.create_task(_follow_health(lifecycle, grpc_server))
    lifecycle.on_drain.append(lambda: asyncio.ensure_future(grpc_server.set_serving(False)))
    try:
        await web.SockSite(runner, http_socket, backlog=1024).start()
        await grpc_server.start(service)
        with _address_file(config, http_socket.getsockname()[1], grpc_server.port):
            await lifecycle.stopped()
    finally:
        health.cancel()
        await asyncio.gather(runner.cleanup(), grpc_server.stop())
    log.info("bye")


def bind_http(host: str, port: int) -> socket.socket:
    """A socket with this port, not listening yet. Raises UsageError where somebody else has it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
    except OSError as error:
        found.close()
        raise UsageError(
            f"cannot listen on {host}:{port} for HTTP: {error.strerror}; choose another --port, or 0 for any free one"
        ) from error
    found.setblocking(False)
    return found


async def _unless_signalled(starting: Coroutine[Any, Any, StartedT]) -> StartedT | None:
    """What `starting` returns, or none where SIGTERM or SIGINT came first."""
    task = asyncio.create_task(starting)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        log.info("stopped before the model was loaded")
        return None
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def _follow_health(lifecycle: Lifecycle, grpc_server: GrpcServer) -> None:
    """gRPC health is told, not asked: keep it true while the engine comes and goes."""
    serving = True
    while True:
        await asyncio.sleep(HEALTH_SECONDS)
        lifecycle.watch()
        ready = lifecycle.not_ready_because() is None
        if ready != serving:
            serving = ready
            await grpc_server.set_serving(serving)


class _address_file:
    """Says where the server listens, in the log and in `address_file`, from ready until the end."""

    def __init__(self, config: ServerConfig, http_port: int, grpc_port: int) -> None:
        host = WILDCARDS.get(config.host, config.host)
        shown = f"[{host}]" if ":" in host else host
        self._http, self._grpc = f"{shown}:{http_port}", f"{shown}:{grpc_port}"
        self._path = Path(config.address_file) if config.address_file else None

    def __enter__(self) -> None:
        log.info("ready: HTTP on http://%s/v1, gRPC on %s", self._http, self._grpc)
        if self._path is not None:
            content = {"http": self._http, "grpc": self._grpc, "pid": os.getpid()}
            partial = self._path.with_name(f"{self._path.name}.{os.getpid()}.partial")
            partial.write_text(json.dumps(content) + "\n")
            partial.replace(self._path)

    def __exit__(self, *_: object) -> None:
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink()


def _log_engine(info: EngineInfo) -> None:
    """What every "auto" became."""
    log.info(
        "%s in %s on %s, %s attention, weights %s",
        info.architecture,
        info.dtype,
        info.device,
        info.attention,
        _size(info.weight_bytes),
    )
    log.info(
        "KV cache: %d blocks of %d tokens, %s: room for %d tokens; up to %d sequences of at most %d tokens",
        info.num_blocks,
        info.block_tokens,
        _size(info.kv_bytes),
        info.kv_capacity_tokens,
        info.max_sequences,
        info.max_model_tokens,
    )
    log.info(
        "%s, %s: steps of %d tokens (%s)",
        info.composition,
        info.queue_policy,
        info.token_budget,
        info.token_budget_reason,
    )


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.2f} GiB" if num_bytes >= 2**30 else f"{num_bytes / 2**20:.1f} MiB"
