"""A replica that does what its requests tell it to, so that what a balancer makes of it can be seen.

    async with FakeReplica("a") as replica: ...          in this process
    python fake_replica.py --name a --address-file FILE  a process of its own, which can be killed

The body of an HTTP request is a JSON object of orders: status, sleep, events (stream that many server-sent
events), gap (seconds between them), length (a fixed-length body), die_after_events (drop the connection).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio
from aiohttp import web

from fastgen_server.balancer.replica import ReplicaAddress


class FakeReplica:
    """Real sockets, invented answers. `seen` holds requests as they arrived, `left` when clients went away."""

    def __init__(self, name: str = "fake", *, ready: bool = True, http_port: int = 0, grpc_port: int = 0) -> None:
        self.name = name
        self.ready = ready
        self.load_tokens: int | None = None
        self.seen: list[dict[str, Any]] = []
        self.left: list[float] = []
        self.in_flight = 0
        self._ports = (http_port, grpc_port)
        self.http = self.grpc = ""

    @property
    def address(self) -> ReplicaAddress:
        return ReplicaAddress(self.http, self.grpc, self.name)

    async def __aenter__(self) -> Self:
        server = web.Server(self._handle, handler_cancellation=True, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._ports[0])
        await site.start()
        self.http = f"127.0.0.1:{self._runner.addresses[0][1]}"
        self._grpc = grpc.aio.server(handlers=(_Methods(self),), options=(("grpc.so_reuseport", 0),))
        self.grpc = f"127.0.0.1:{self._grpc.add_insecure_port(f'127.0.0.1:{self._ports[1]}')}"
        await self._grpc.start()
        return self

    async def close(self) -> None:
        """Close its ports, as a process that ends does."""
        await self._grpc.stop(0)
        await self._runner.cleanup()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/readyz":
            load = {} if self.load_tokens is None else {"Fastgen-Outstanding-Tokens": str(self.load_tokens)}
            return web.Response(status=200 if self.ready else 503, headers=load)
        if request.path == "/seen":
            return web.json_response(self.seen)
        body = await request.read()
        self.seen.append(
            {"method": request.method, "path": request.raw_path, "headers": dict(request.headers), "bytes": len(body)}
        )
        orders = json.loads(body) if body.startswith(b"{") else {}
        self.in_flight += 1
        try:
            return await self._obey(request, orders, body)
        except asyncio.CancelledError:
            self.left.append(time.monotonic())
            raise
        finally:
            self.in_flight -= 1

    async def _obey(self, request: web.BaseRequest, orders: dict[str, Any], body: bytes) -> web.StreamResponse:
        await asyncio.sleep(orders.get("sleep", 0))
        headers = {"X-Replica": self.name}
        if "events" in orders:
            return await self._stream(request, orders, headers)
        if "length" in orders:
            return web.Response(body=b"x" * orders["length"], headers=headers)
        status = orders.get("status", 200)
        if orders.get("only") not in (None, self.name):
            status = 503
        return web.Response(status=status, body=body, headers={**headers, "Connection": "X-Hop", "X-Hop": "1"})

    async def _stream(
        self, request: web.BaseRequest, orders: dict[str, Any], headers: dict[str, str]
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={**headers, "Content-Type": "text/event-stream"})
        await response.prepare(request)
        for i in range(orders["events"]):
            if i == orders.get("die_after_events"):
                assert request.transport is not None
                request.transport.abort()
            await response.write(b"data: %d\n\n" % i)
            await asyncio.sleep(orders.get("gap", 0))
        await response.write_eof()
        return response


class _Methods(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """/test.Echo/*: all four kinds of call."""

    def __init__(self, replica: FakeReplica) -> None:
        self._replica = replica

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        method = details.method.rsplit("/", 1)[1]
        kinds = {
            "Unary": grpc.unary_unary_rpc_method_handler(self._unary),
            "Generate": grpc.unary_unary_rpc_method_handler(self._unary),
            "ServerStream": grpc.unary_stream_rpc_method_handler(self._server_stream),
            "ClientStream": grpc.stream_unary_rpc_method_handler(self._client_stream),
            "Bidi": grpc.stream_stream_rpc_method_handler(self._bidi),
            "Greet": grpc.stream_stream_rpc_method_handler(self._greet),
            "Fail": grpc.unary_unary_rpc_method_handler(self._fail),
            "Hang": grpc.unary_unary_rpc_method_handler(self._hang),
        }
        return kinds.get(method)

    def _note(self, context: Any) -> None:
        metadata = dict(context.invocation_metadata())
        self._replica.seen.append({"metadata": metadata, "remaining": context.time_remaining()})

    async def _unary(self, request: bytes, context: Any) -> bytes:
        self._note(context)
        await context.send_initial_metadata((("x-replica", self._replica.name),))
        context.set_trailing_metadata((("x-trailer", "kept"), ("x-bytes-bin", b"\x00\xff")))
        return request

    async def _server_stream(self, request: bytes, context: Any) -> None:
        """The request is: number of messages, seconds between them, after how many to end the process (0: never)."""
        self._note(context)
        count, gap, die_after = json.loads(request)
        self._replica.in_flight += 1
        try:
            for i in range(count):
                if die_after and i == die_after:
                    os._exit(9)
                await context.write(b"%d" % i)
                await asyncio.sleep(gap)
        except asyncio.CancelledError:
            self._replica.left.append(time.monotonic())
            raise
        finally:
            self._replica.in_flight -= 1

    async def _client_stream(self, requests: Any, context: Any) -> bytes:
        return b"+".join([message async for message in requests])

    async def _bidi(self, requests: Any, context: Any) -> Any:
        async for message in requests:
            yield b"re:" + message

    async def _greet(self, requests: Any, context: Any) -> Any:
        """Speaks first, then listens."""
        yield b"hello"
        async for message in requests:
            yield message

    async def _fail(self, request: bytes, context: Any) -> bytes:
        details = (("grpc-status-details-bin", b"\x08\x03details"), ("fastgen-error-param", "n"))
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "n=0: at least 1", details)
        raise AssertionError

    async def _hang(self, request: bytes, context: Any) -> bytes:
        self._note(context)
        self._replica.in_flight += 1
        try:
            await asyncio.sleep(float(request or b"60"))
            return self._replica.name.encode()
        except asyncio.CancelledError:
            self._replica.left.append(time.monotonic())
            raise
        finally:
            self._replica.in_flight -= 1


async def _main(args: argparse.Namespace) -> None:
    async with FakeReplica(args.name, http_port=args.port, grpc_port=args.grpc_port) as replica:
        path = Path(args.address_file)
        text = json.dumps({"http": replica.http, "grpc": replica.grpc, "name": args.name})
        path.with_suffix(".part").write_text(text)
        path.with_suffix(".part").replace(path)
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", default="fake")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--grpc-port", type=int, default=0)
    parser.add_argument("--address-file", required=True)
    asyncio.run(_main(parser.parse_args()))
