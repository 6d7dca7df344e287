"""What goes through the proxy arrives as it was sent, and where it cannot go, the client learns why."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from proxied import Proxied, a_proxy
from yarl import URL

from fastgen_devcluster import service_proxy
from fastgen_devcluster.services import Address

POD = "127.9.8.7"


class Pod:
    """A server as it might run in a pod, which keeps what it was asked."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.go_on = asyncio.Event()
        self.gone = asyncio.Event()
        self.port = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/stream":
            return await self._stream(request)
        if request.path == "/echo":
            return await self._echo(request)
        body = await request.read()
        self.requests.append((request.method, request.raw_path, dict(request.headers), body))
        if request.path == "/zipped":
            return web.Response(body=gzip.compress(b"words"), headers={"Content-Encoding": "gzip"})
        if request.path == "/elsewhere":
            return web.Response(status=302, headers={"Location": "/other"})
        if request.path == "/nothing":
            return web.Response(status=204)
        headers = {"X-Kept": "yes", "Connection": "X-Mine", "X-Mine": "no"}
        return web.Response(status=201, body=body or b"hello", headers=headers)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        """One chunk, then as the test says: end, or break off."""
        stream = web.StreamResponse()
        await stream.prepare(request)
        try:
            await stream.write(b"first")
            await self.go_on.wait()
            if "break" in request.query:
                assert request.transport is not None
                request.transport.abort()
                return stream
            await stream.write(b"second")
        except (asyncio.CancelledError, ConnectionError):
            self.gone.set()
            raise
        return stream

    async def _echo(self, request: web.Request) -> web.StreamResponse:
        """Every piece of the body as it comes."""
        stream = web.StreamResponse()
        await stream.prepare(request)
        async for piece in request.content.iter_any():
            await stream.write(piece)
        return stream


@contextlib.asynccontextmanager
async def a_pod(host: str = POD) -> AsyncIterator[Pod]:
    pod, app = Pod(), web.Application()
    app.router.add_route("*", "/{path:.*}", pod.answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, host, 0).start()
    pod.port = runner.addresses[0][1]
    try:
        yield pod
    finally:
        await runner.cleanup()


@pytest.fixture
async def pod() -> AsyncIterator[Pod]:
    async with a_pod() as found:
        yield found


@pytest.fixture
async def proxied(pod: Pod, tmp_path: Path) -> AsyncIterator[Proxied]:
    """A proxy that knows the Service `llama`, with one ready pod behind it."""
    async with a_proxy(tmp_path, ("prometheus.monitoring", Address(POD, pod.port))) as found:
        found.api.add_service("llama", port=80, target=pod.port)
        found.api.add_pod("llama-0", POD)
        async with aiohttp.ClientSession() as client:
            await until(client, found, "http://llama.default/", 201)
        pod.requests.clear()
        yield found


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session


async def status(client: aiohttp.ClientSession, proxied: Proxied, url: str) -> int:
    async with client.get(url, proxy=proxied.url) as answer:
        return answer.status


async def refusal(client: aiohttp.ClientSession, proxied: Proxied, url: str) -> tuple[int, str]:
    async with client.get(url, proxy=proxied.url) as answer:
        return answer.status, await answer.text()


@pytest.mark.parametrize(
    "host",
    ["llama.default", "llama.default.svc:80", "llama.default.svc.cluster.local", "prometheus.monitoring:9090"],
)
async def test_a_request_arrives_as_it_was_sent(
    proxied: Proxied, pod: Pod, client: aiohttp.ClientSession, host: str
) -> None:
    headers = {"X-Own": "1", "User-Agent": "me", "Proxy-Connection": "keep-alive"}
    url = URL(f"http://{host}/a%20b/c?q=%2F&x=", encoded=True)
    async with client.post(url, data=b"words", headers=headers, proxy=proxied.url) as got:
        assert (got.status, await got.read(), got.headers["X-Kept"]) == (201, b"words", "yes")
        assert "X-Mine" not in got.headers
    [(method, path, sent, body)] = pod.requests
    assert (method, path, body) == ("POST", "/a%20b/c?q=%2F&x=", b"words")
    assert (sent["Host"], sent["X-Own"], sent["User-Agent"]) == (host.removesuffix(":80"), "1", "me")
    assert "Proxy-Connection" not in sent


async def test_nothing_is_added_to_a_bare_request(proxied: Proxied, pod: Pod) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxied.port)
    writer.write(b"GET http://llama.default HTTP/1.1\r\nHost: llama.default\r\nConnection: close\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 201 ")
    writer.close()
    [(_, path, sent, _)] = pod.requests
    assert path == "/"
    assert set(sent) <= {"Host", "Connection"}


async def test_one_connection_carries_many_requests(proxied: Proxied, pod: Pod) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxied.port)
    for number in range(3):
        body = b"x" * number
        head = f"POST http://llama.default/{number} HTTP/1.1\r\nHost: llama.default\r\nContent-Length: {number}\r\n\r\n"
        writer.write(head.encode() + body)
        answered = await reader.readuntil(b"\r\n\r\n")
        assert b"Content-Length: " in answered
        length = int(answered.split(b"Content-Length: ")[1].split(b"\r\n")[0])
        assert await reader.readexactly(length) == (body or b"hello")
    writer.close()
    assert [path for _, path, _, _ in pod.requests] == ["/0", "/1", "/2"]


async def test_an_answer_streams_as_it_comes(proxied: Proxied, pod: Pod, client: aiohttp.ClientSession) -> None:
    async with client.get("http://llama.default/stream", proxy=proxied.url) as got:
        assert await asyncio.wait_for(got.content.readany(), 5) == b"first"
        pod.go_on.set()
        assert await asyncio.wait_for(got.content.read(), 5) == b"second"


async def test_a_body_streams_as_it_is_sent(proxied: Proxied, client: aiohttp.ClientSession) -> None:
    pieces: asyncio.Queue[bytes] = asyncio.Queue()

    async def body() -> AsyncIterator[bytes]:
        while piece := await pieces.get():
            yield piece

    pieces.put_nowait(b"one")
    async with client.post("http://llama.default/echo", data=body(), proxy=proxied.url) as got:
        assert await asyncio.wait_for(got.content.readany(), 5) == b"one"
        pieces.put_nowait(b"two")
        assert await asyncio.wait_for(got.content.readany(), 5) == b"two"
        pieces.put_nowait(b"")
        assert await asyncio.wait_for(got.content.read(), 5) == b""


async def test_an_answer_that_breaks_off_breaks_off_for_the_client(
    proxied: Proxied, pod: Pod, client: aiohttp.ClientSession
) -> None:
    async with client.get("http://llama.default/stream?break=1", proxy=proxied.url) as got:
        assert await got.content.readany() == b"first"
        pod.go_on.set()
        with pytest.raises(aiohttp.ClientPayloadError):
            await got.content.read()


async def test_a_client_that_goes_away_is_gone_for_the_pod(proxied: Proxied, pod: Pod) -> None:
    url = "http://llama.default/stream"
    async with aiohttp.ClientSession() as client, client.get(url, proxy=proxied.url) as got:
        await got.content.readany()
        got.close()
    await asyncio.wait_for(pod.gone.wait(), 5)


async def test_answers_are_neither_unpacked_nor_followed(proxied: Proxied, client: aiohttp.ClientSession) -> None:
    async with client.get("http://llama.default/zipped", proxy=proxied.url) as got:
        assert gzip.decompress(await got.read()) == b"words"
    async with client.get("http://llama.default/elsewhere", proxy=proxied.url, allow_redirects=False) as got:
        assert (got.status, got.headers["Location"]) == (302, "/other")
    async with client.get("http://llama.default/nothing", proxy=proxied.url) as got:
        assert (got.status, await got.read()) == (204, b"")
    async with client.head("http://llama.default/head", proxy=proxied.url) as got:
        assert (got.status, got.headers["Content-Length"]) == (201, "5")


async def test_who_waits_for_100_continue_is_told_to(proxied: Proxied, client: aiohttp.ClientSession) -> None:
    async with client.post("http://llama.default/", data=b"words", expect100=True, proxy=proxied.url) as got:
        assert await asyncio.wait_for(got.read(), 5) == b"words"


async def test_loopback_addresses_are_passed_on(proxied: Proxied, pod: Pod, client: aiohttp.ClientSession) -> None:
    assert await status(client, proxied, f"http://{POD}:{pod.port}/") == 201


@pytest.mark.parametrize(
    ("url", "code", "says"),
    [
        ("http://llama.other/", 502, "no Service 'llama' in namespace 'other'; there are: none"),
        ("http://lama.default/", 502, "no Service 'lama' in namespace 'default'; there are: llama"),
        ("http://llama.default:81/", 502, "Service default/llama has no port 81; it has: 80"),
        ("http://llama/", 502, "'llama' is neither NAME.NAMESPACE"),
        ("http://example.com.invalid/", 502, "is neither NAME.NAMESPACE"),
        ("http://127.0.0.1:1/", 502, "tried 127.0.0.1:1: "),
    ],
)
async def test_where_a_request_cannot_go_the_client_learns_why(
    proxied: Proxied, client: aiohttp.ClientSession, url: str, code: int, says: str
) -> None:
    got, text = await refusal(client, proxied, url)
    assert got == code
    assert says in text


async def test_a_pod_that_does_not_take_the_connection_is_a_504(
    client: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_proxy, "CONNECT_SECONDS", 0.3)
    with full_listener() as address:
        async with a_proxy(tmp_path) as proxied:
            got, text = await refusal(client, proxied, f"http://{address}/")
    assert got == 504
    assert f"tried {address}: no connection in 0.3 s" in text


@contextlib.contextmanager
def full_listener() -> Iterator[Address]:
    """Somebody who listens and takes no connection any more."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.9.8.6", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield Address(*listener.getsockname())


async def test_what_it_is_not_for_is_refused_and_explained(proxied: Proxied, client: aiohttp.ClientSession) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxied.port)
    writer.write(b"CONNECT llama.default:443 HTTP/1.1\r\nHost: llama.default:443\r\n\r\n")
    answered = (await reader.read()).decode()
    writer.close()
    assert answered.startswith("HTTP/1.1 501 ")
    assert "CONNECT (TLS, gRPC) is not for it" in answered
    async with client.get(f"{proxied.url}/v1/models") as got:
        assert got.status == 400
        assert "use it as HTTP_PROXY" in await got.text()


async def test_it_follows_what_becomes_of_pods(proxied: Proxied, client: aiohttp.ClientSession) -> None:
    url = "http://llama.default/"
    proxied.api.add_pod("llama-0", POD, ready=False)
    await until(client, proxied, url, 502)
    proxied.api.add_pod("llama-0", POD)
    await until(client, proxied, url, 201)
    proxied.api.remove("pods", "llama-0")
    await until(client, proxied, url, 502)


async def test_it_goes_on_when_watches_end_or_are_too_old(proxied: Proxied, client: aiohttp.ClientSession) -> None:
    url = "http://llama.default/"
    for last_word in (None, {"type": "ERROR", "object": {"code": 410, "message": "too old resource version"}}):
        proxied.api.end_watches(last_word)
        assert await status(client, proxied, url) == 201
        proxied.api.add_pod("llama-0", POD, ready=False)
        await until(client, proxied, url, 502)
        proxied.api.add_pod("llama-0", POD)
        await until(client, proxied, url, 201)


async def until(client: aiohttp.ClientSession, proxied: Proxied, url: str, wanted: int) -> None:
    """Ask until the answer has that status."""
    deadline = time.monotonic() + 10
    while (got := await status(client, proxied, url)) != wanted:
        assert time.monotonic() < deadline, f"still {got}"
        await asyncio.sleep(0.02)


async def test_requests_are_spread_over_ready_pods(proxied: Proxied, pod: Pod, client: aiohttp.ClientSession) -> None:
    async with a_pod("127.9.8.5") as second:
        service_port = 8000
        proxied.api.add_service("both", port=service_port, target=pod.port)
        proxied.api.add_pod("here", POD)
        await until(client, proxied, f"http://both.default:{service_port}/", 201)
        proxied.api.add_pod("there", "127.9.8.5")
        proxied.api.add_service("both", port=service_port, target=second.port)
        codes = set()
        async with asyncio.timeout(10):
            while codes != {201, 502} or not second.requests:  # the second port is open on the second pod only
                codes.add(await status(client, proxied, f"http://both.default:{service_port}/"))
