"""gRPC passed through: every method but health, every kind of streaming, messages never decoded.

On the wire all four kinds of call are the same: a stream of messages each way. So one handler without
serializers serves them all, and metadata, deadline, cancellation, status and its details go with it.
A call is tried again only while nothing of its answer has come: no initial metadata, no message.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Any, NoReturn

import grpc

from fastgen_server.balancer.config import BalancerConfig
from fastgen_server.balancer.gate import OVERLOADED, RETRY_AFTER_NO_REPLICA_SECONDS, Gate, RefusedError
from fastgen_server.balancer.grpc_replay import Replay
from fastgen_server.balancer.grpc_wire import EOF, HEALTH_CHECK, HEALTH_WATCH, NOT_SERVING, SERVING, retry_details
from fastgen_server.balancer.metrics import BalancerMetrics
from fastgen_server.balancer.pool import NoReplicaError, Pool
from fastgen_server.balancer.replica import Lease, Replica
from fastgen_server.balancer.work import NO_WORK, grpc_work

if TYPE_CHECKING:
    _GenericRpcHandler = grpc.GenericRpcHandler[Any, Any]
else:
    _GenericRpcHandler = grpc.GenericRpcHandler

log = logging.getLogger("fastgen.balancer")

Context = grpc.aio.ServicerContext[Any, Any]
Metadata = tuple[tuple[str, str | bytes], ...]

_RETRIED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
_KEPT_GRPC_KEYS = ("grpc-status-details-bin", "grpc-trace-bin", "grpc-tags-bin")
_HOP_KEYS = ("user-agent", "te", "content-type", "content-length")
_SETTLE_SECONDS = 0.01
"""An error without an answer arrives as empty initial metadata and a status, a moment apart."""


class _NotBegunError(Exception):
    """The replica did not begin to answer."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        super().__init__(error.details() or error.code().name)
        self.error = error


def passed_on(metadata: Iterable[Any] | None) -> Metadata:
    """Metadata without what belongs to one connection."""
    return tuple(
        (key, value)
        for key, value in metadata or ()
        if not key.startswith(":") and key not in _HOP_KEYS and (not key.startswith("grpc-") or key in _KEPT_GRPC_KEYS)
    )


class GrpcProxy(_GenericRpcHandler):
    """Serves every method. Channels to replicas are kept and shared by all calls."""

    def __init__(self, config: BalancerConfig, pool: Pool, gate: Gate, metrics: BalancerMetrics) -> None:
        self._config = config
        self._pool = pool
        self._gate = gate
        self._metrics = metrics
        self._channels: dict[str, grpc.aio.Channel] = {}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        method = handler_call_details.method
        if method == HEALTH_CHECK:
            return grpc.unary_unary_rpc_method_handler(self._health_check)
        if method == HEALTH_WATCH:
            return grpc.unary_stream_rpc_method_handler(self._health_watch)

        async def handle(_requests: AsyncIterator[bytes], context: Context) -> None:
            await self._handle(method, context)

        return grpc.stream_stream_rpc_method_handler(handle)

    def health(self) -> bytes:
        """SERVING while a request would be taken, held ones included."""
        return NOT_SERVING if self._gate.draining else SERVING

    async def _health_check(self, _request: bytes, _context: Context) -> bytes:
        return self.health()

    async def _health_watch(self, _request: bytes, context: Context) -> None:
        last = b""
        while True:
            now = self.health()
            if now != last:
                await context.write(now)
            last = now
            await asyncio.sleep(0.2)

    async def _handle(self, method: str, context: Context) -> None:
        code = grpc.StatusCode.CANCELLED
        try:
            code = await self._admit(method, context)
        except grpc.aio.AbortError:
            code = context.code()
            raise
        finally:
            self._metrics.requests.labels("grpc", code.name).inc()

    async def _admit(self, method: str, context: Context) -> grpc.StatusCode:
        try:
            self._gate.enter()
        except RefusedError as refused:
            self._metrics.offered("grpc", NO_WORK)
            await _refuse(context, refused)
        replay = Replay(context, self._gate, most_bytes=self._config.max_body_bytes)
        try:
            return await self._forward(method, context, replay)
        except RefusedError as refused:
            await _refuse(context, refused)
        except NoReplicaError as nobody:
            wait = RETRY_AFTER_NO_REPLICA_SECONDS
            again = RefusedError(nobody.message, code="no_replica", retry_after_seconds=wait)
            await _refuse(context, again)
        finally:
            replay.close()
            self._gate.leave()

    async def _forward(self, method: str, context: Context, replay: Replay) -> grpc.StatusCode:
        work = grpc_work(method, await replay.first())
        self._metrics.offered("grpc", work)
        tried: list[Replica] = []
        while True:
            lease = await self._pool.acquire("grpc", work, tried)
            tried.append(lease.replica)
            try:
                return await self._attempt(method, context, replay, lease)
            except _NotBegunError as failure:
                if not self._may_retry(failure, lease.replica, tried, replay):
                    error = failure.error
                    await context.abort(error.code(), error.details() or "", passed_on(error.trailing_metadata()))
                log.info("a call is tried again, replica %s: %s", lease.replica.name, failure)
            finally:
                lease.close()

    def _may_retry(self, failure: _NotBegunError, replica: Replica, tried: list[Replica], replay: Replay) -> bool:
        error = failure.error
        if error.code() not in _RETRIED:
            return False
        # A replica that can still speak sends trailing metadata with its refusal; a connection that failed has none.
        spoke = bool(passed_on(error.trailing_metadata())) or error.code() is not grpc.StatusCode.UNAVAILABLE
        if spoke:
            replica.probe_now.set()
        else:
            self._pool.request_failed(replica, port_closed="Connection refused" in (error.details() or ""))
        allowed = replay.complete and len(tried) <= self._config.retries
        if not allowed or (spoke and not self._pool.has_other("grpc", tried)):
            return False
        self._metrics.retries.labels("busy" if spoke else "connection").inc()
        return True

    async def _attempt(self, method: str, context: Context, replay: Replay, lease: Lease) -> grpc.StatusCode:
        sent = time.monotonic()
        call = self._channel(lease.replica).stream_stream(method, None, None)(
            replay.messages(), timeout=context.time_remaining(), metadata=passed_on(context.invocation_metadata())
        )
        reading = asyncio.ensure_future(call.read())
        try:
            initial = await call.initial_metadata()
            await asyncio.wait([reading], timeout=_SETTLE_SECONDS)
            if reading.done() and isinstance(error := reading.exception(), grpc.aio.AioRpcError):
                raise _NotBegunError(error)
            replay.answer_began()
            self._metrics.upstream_seconds.labels("grpc").observe(time.monotonic() - sent)
            lease.replica.health.request_succeeded()
            await context.send_initial_metadata(passed_on(initial))
            message = await reading
            while message is not EOF:
                await context.write(message)
                lease.flowed(1)
                message = await call.read()
            context.set_trailing_metadata(passed_on(await call.trailing_metadata()))
            return grpc.StatusCode.OK
        except grpc.aio.AioRpcError as error:
            await self._end_with(error, context, lease.replica)
        finally:
            reading.add_done_callback(lambda task: task.cancelled() or task.exception())
            reading.cancel()
            call.cancel()  # The client left, or nothing: a call that has ended cannot be cancelled.

    async def _end_with(self, error: grpc.aio.AioRpcError, context: Context, replica: Replica) -> NoReturn:
        trailing = passed_on(error.trailing_metadata())
        details = error.details() or ""
        if error.code() is grpc.StatusCode.UNAVAILABLE and not trailing:
            self._metrics.cut_streams.labels("grpc").inc()
            self._pool.request_failed(replica, port_closed=False)
            log.warning("an answer was cut short: replica %s went away", replica.name)
            details = f"the replica that was answering went away; the answer is incomplete ({details})"
        await context.abort(error.code(), details, trailing)

    def _channel(self, replica: Replica) -> grpc.aio.Channel:
        target = replica.address.grpc
        if target is None:
            raise ValueError(f"replica {replica.name} has no gRPC address")
        if target not in self._channels:
            options = (
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.min_reconnect_backoff_ms", int(self._config.connect_seconds * 1000)),
                ("grpc.max_reconnect_backoff_ms", 1000),
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.enable_retries", 0),
                ("grpc.enable_http_proxy", 0),
            )
            self._channels[target] = grpc.aio.insecure_channel(target, options=options)
        return self._channels[target]

    async def forget(self, target: str | None) -> None:
        """Close the channel of a replica that is gone."""
        if target is not None and (channel := self._channels.pop(target, None)):
            await channel.close(None)

    async def close(self) -> None:
        for target in list(self._channels):
            await self.forget(target)


async def _refuse(context: Context, refused: RefusedError) -> NoReturn:
    full = refused.code == OVERLOADED
    code = grpc.StatusCode.RESOURCE_EXHAUSTED if full else grpc.StatusCode.UNAVAILABLE
    trailing: Metadata = (
        ("fastgen-error-code", refused.code),
        ("retry-after", str(refused.retry_after_seconds)),
        ("grpc-status-details-bin", retry_details(code, refused.message, refused.retry_after_seconds)),
    )
    await context.abort(code, refused.message, trailing)
