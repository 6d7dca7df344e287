"""What a probe or a lifecycle hook does: an HTTP request, a connection, a gRPC health check, a command."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

import aiohttp

from fastgen_devcluster.node.probing import Result

USER_AGENT = "kube-probe/1.36"
MESSAGE_LENGTH = 1024
SERVING = b"\x08\x01"
"""grpc.health.v1.HealthCheckResponse with status SERVING (field 1 = 1)."""

_AS_IS: Callable[[bytes], bytes] = bytes

RunCommand = Callable[[Sequence[str]], Awaitable[tuple[int, str]]]
"""Runs a command in the container: its exit code and what it wrote."""


class Target(NamedTuple):
    """The container that is asked."""

    pod_ip: str
    ports: Mapping[str, int]
    """Its named ports."""
    run: RunCommand


async def perform(handler: Mapping[str, Any], target: Target) -> Result:
    """Do what a probe's or a hook's handler says. Returns failures, never raises them."""
    if "httpGet" in handler:
        return await _http(handler["httpGet"], target)
    if "tcpSocket" in handler:
        return await _tcp(handler["tcpSocket"], target)
    if "grpc" in handler:
        return await _grpc(handler["grpc"], target)
    if "sleep" in handler:
        await asyncio.sleep(handler["sleep"]["seconds"])
        return Result(True)
    status, output = await target.run(handler["exec"]["command"])
    return Result(status == 0, f"command ended with status {status}: {output[:MESSAGE_LENGTH]}" if status else "")


def _port(port: int | str, target: Target) -> int:
    return port if isinstance(port, int) else target.ports.get(port, 0)


async def _http(get: Mapping[str, Any], target: Target) -> Result:
    scheme, host = get.get("scheme", "HTTP").lower(), get.get("host") or target.pod_ip
    path = get.get("path", "/")
    url = f"{scheme}://{host}:{_port(get['port'], target)}/{path.removeprefix('/')}"
    headers = {"User-Agent": USER_AGENT, "Accept": "*/*"}
    headers |= {header["name"]: header["value"] for header in get.get("httpHeaders", ())}
    connector = aiohttp.TCPConnector(ssl=False, force_close=True)  # a kubelet verifies no certificate of a pod either
    try:
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get(url, headers=headers, allow_redirects=False) as response,
        ):
            if response.status < 400:
                return Result(True)
            body = (await response.content.read(MESSAGE_LENGTH)).decode("utf-8", "replace")
            return Result(False, f"HTTP probe failed with statuscode: {response.status}: {body}".rstrip(": \n"))
    except aiohttp.ClientConnectorError as error:
        return Result(False, f'Get "{url}": {error.os_error.strerror or error}')
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return Result(False, f'Get "{url}": {error}')


async def _tcp(socket: Mapping[str, Any], target: Target) -> Result:
    host, port = socket.get("host") or target.pod_ip, _port(socket["port"], target)
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError as error:
        return Result(False, f"dial tcp {host}:{port}: {error}")
    writer.close()
    return Result(True)


async def _grpc(check: Mapping[str, Any], target: Target) -> Result:
    import grpc.aio  # only where a pod asks for it: it is large

    service = (check.get("service") or "").encode()
    request = b"\x0a" + _varint(len(service)) + service if service else b""
    options = [("grpc.enable_http_proxy", 0)]
    async with grpc.aio.insecure_channel(f"{target.pod_ip}:{check['port']}", options) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            "/grpc.health.v1.Health/Check", _AS_IS, _AS_IS
        )
        try:
            answer = await call(request)
        except grpc.aio.AioRpcError as error:
            return Result(False, f"gRPC health check: {error.code().name}: {error.details()}")
    return Result(answer == SERVING, "" if answer == SERVING else "gRPC health check: the service is not SERVING")


def _varint(value: int) -> bytes:
    """As protocol buffers write a length."""
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80]) + _varint(value >> 7)
