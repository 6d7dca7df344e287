"""HTTP passed through: the request read once and kept, the answer's bytes handed on as they come.

    read body -> estimate work -> lease a replica -> send -> answer begins -> bytes flow -> end
                                        ^               |
                                        +--- not begun: connection failed, or 503 ---+

Once the answer has begun it is never tried again; if the replica goes away then, the client sees it: an
`error` event where the answer is an event stream, and a connection that ends before the answer does.
HTTP/1.1 trailers, which the HTTP library drops and nobody here sends, are discarded (RFC 9110, 6.5.1).
"""

from __future__ import annotations

import logging
import time

import aiohttp
from aiohttp import web
from yarl import URL

from fastgen_server.balancer.config import BalancerConfig
from fastgen_server.balancer.gate import RETRY_AFTER_NO_REPLICA_SECONDS, Gate, RefusedError
from fastgen_server.balancer.headers import end_to_end, is_event_stream, request_headers
from fastgen_server.balancer.http_errors import CUT_EVENT, error_response, refusal, too_large
from fastgen_server.balancer.metrics import BalancerMetrics
from fastgen_server.balancer.pool import NoReplicaError, Pool
from fastgen_server.balancer.replica import Lease, Replica
from fastgen_server.balancer.work import http_work, unread_work

log = logging.getLogger("fastgen.balancer")

WHOLE_ANSWER_BYTES = 65536
"""A fixed-length answer up to this size is passed on in one piece."""

CLIENT_LEFT = "499"
"""Counted for a client that left before its answer ended."""

_FAILURES = (aiohttp.ClientError, ConnectionError, TimeoutError)


class _BodyTooLargeError(Exception):
    """The request's body is longer than allowed."""


class _NotBegunError(Exception):
    """The replica did not begin to answer."""


class _BusyError(Exception):
    """The replica said 503, and another one is ready."""


class HttpProxy:
    """Handles every HTTP request that is not about the balancer itself."""

    def __init__(
        self,
        config: BalancerConfig,
        pool: Pool,
        gate: Gate,
        metrics: BalancerMetrics,
        session: aiohttp.ClientSession,
    ) -> None:
        self._config = config
        self._pool = pool
        self._gate = gate
        self._metrics = metrics
        self._session = session

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Pass one request through; count what the client was told."""
        code = CLIENT_LEFT
        try:
            response = await self._admit(request)
            code = str(response.status)
            if self._gate.draining and not response.prepared:
                response.force_close()  # So that the client's next request goes to a balancer that stays.
            return response
        finally:
            self._metrics.requests.labels("http", code).inc()

    async def _admit(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            self._gate.enter()
        except RefusedError as refused:
            self._metrics.offered("http", unread_work(request.method, request.content_length))
            return refusal(refused.message, refused.code, refused.retry_after_seconds)
        try:
            return await self._read_and_forward(request)
        except RefusedError as refused:
            return refusal(refused.message, refused.code, refused.retry_after_seconds)
        except NoReplicaError as nobody:
            return refusal(nobody.message, "no_replica", RETRY_AFTER_NO_REPLICA_SECONDS)
        finally:
            self._gate.leave()

    async def _read_and_forward(self, request: web.BaseRequest) -> web.StreamResponse:
        if "Upgrade" in request.headers:
            return error_response(501, "upgrades are not passed through", "not_implemented")
        try:
            body = await self._read(request)
        except _BodyTooLargeError:
            self._metrics.offered("http", unread_work(request.method, request.content_length))
            return too_large(self._config.max_body_bytes)
        work = http_work(request.method, body)
        self._metrics.offered("http", work)
        self._gate.keep(len(body))
        tried: list[Replica] = []
        try:
            while True:
                lease = await self._pool.acquire("http", work, tried)
                tried.append(lease.replica)
                try:
                    return await self._attempt(request, body, lease, tried)
                except _NotBegunError as failure:
                    if len(tried) > self._config.retries:
                        return error_response(502, f"{len(tried)} attempts failed: {failure}", "bad_gateway")
                    self._metrics.retries.labels("connection").inc()
                    log.info("a request is tried again, replica %s: %s", lease.replica.name, failure)
                except _BusyError:
                    self._metrics.retries.labels("busy").inc()
                finally:
                    lease.close()
        finally:
            self._gate.drop(len(body))

    async def _read(self, request: web.BaseRequest) -> bytes:
        if not request.body_exists:
            return b""
        most = self._config.max_body_bytes
        if (request.content_length or 0) > most:
            raise _BodyTooLargeError
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0
        pieces: list[bytes] = []
        size = 0
        async for piece in request.content.iter_any():
            size += len(piece)
            if size > most:
                raise _BodyTooLargeError
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _attempt(
        self, request: web.BaseRequest, body: bytes, lease: Lease, tried: list[Replica]
    ) -> web.StreamResponse:
        sent = time.monotonic()
        upstream = await self._send(request, body, lease.replica)
        try:
            self._metrics.upstream_seconds.labels("http").observe(time.monotonic() - sent)
            lease.replica.health.request_succeeded()
            if upstream.status == 503:
                lease.replica.probe_now.set()
                if len(tried) <= self._config.retries and self._pool.has_other("http", tried):
                    raise _BusyError
            length = upstream.content_length
            if length is not None and length <= WHOLE_ANSWER_BYTES and request.method != "HEAD":
                return await self._pass_whole(upstream, lease)
            return await self._pass_stream(request, upstream, lease)
        finally:
            # What was not read is not wanted: closing tells the replica at once. After a full read it does nothing.
            upstream.close()

    async def _send(self, request: web.BaseRequest, body: bytes, replica: Replica) -> aiohttp.ClientResponse:
        try:
            return await self._session.request(
                request.method,
                URL(f"http://{replica.address.http}{request.raw_path}", encoded=True),
                headers=request_headers(request.headers, client_ip=request.remote),
                data=body or None,
                allow_redirects=False,
            )
        except _FAILURES as error:
            refused = isinstance(getattr(error, "os_error", error), ConnectionRefusedError)
            self._pool.request_failed(replica, port_closed=refused)
            raise _NotBegunError(str(error) or type(error).__name__) from error

    async def _pass_whole(self, upstream: aiohttp.ClientResponse, lease: Lease) -> web.StreamResponse:
        try:
            whole = await upstream.read()
        except _FAILURES:
            self._cut(lease.replica)
            message = f"replica {lease.replica.name} went away in the middle of its answer"
            return error_response(502, message, "replica_lost")
        headers = end_to_end(upstream.headers)
        return web.Response(status=upstream.status, reason=upstream.reason, headers=headers, body=whole)

    async def _pass_stream(
        self, request: web.BaseRequest, upstream: aiohttp.ClientResponse, lease: Lease
    ) -> web.StreamResponse:
        headers = end_to_end(upstream.headers)
        response = web.StreamResponse(status=upstream.status, reason=upstream.reason, headers=headers)
        chunked = upstream.content_length is None and request.version >= aiohttp.HttpVersion11
        if chunked:
            response.enable_chunked_encoding()
        await response.prepare(request)
        events = is_event_stream(upstream.headers)
        pieces = upstream.content.iter_any()
        while True:
            try:
                piece = await anext(pieces, b"")
            except _FAILURES:
                self._cut(lease.replica)
                await _end_early(request, response, events=events, chunked=chunked)
                return response
            if not piece:
                break
            await response.write(piece)
            if events:
                lease.flowed(piece.count(b"\n\n"))
        await response.write_eof()
        return response

    def _cut(self, replica: Replica) -> None:
        self._metrics.cut_streams.labels("http").inc()
        self._pool.request_failed(replica, port_closed=False)
        log.warning("an answer was cut short: replica %s went away", replica.name)


async def _end_early(request: web.BaseRequest, response: web.StreamResponse, *, events: bool, chunked: bool) -> None:
    """End the connection so that no client can take the answer for complete."""
    if events:
        await response.write(CUT_EVENT)
    if request.transport is None:
        return
    if chunked or response.content_length is not None:
        # Everything written still goes out; the missing last chunk, or the missing bytes, are the error.
        request.transport.close()
    else:
        request.transport.abort()
