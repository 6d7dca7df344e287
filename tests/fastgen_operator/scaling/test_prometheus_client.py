"""Whatever answers at a manifest's address, the operator gets numbers or a sentence that says what to do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from fastgen_operator.scaling.prometheus import AT_ONCE, MOST_ANSWER_BYTES, PrometheusClient, PrometheusError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
GOOD = {"status": "success", "data": {"resultType": "vector", "result": []}}


@asynccontextmanager
async def answering(handler: Handler) -> AsyncIterator[str]:
    """The base address of a server that answers every request so."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    async with TestServer(app, host="127.0.0.1") as server:
        yield str(server.make_url("/")).rstrip("/")


async def problem(url: str, timeout_seconds: float = 5.0) -> PrometheusError:
    async with PrometheusClient(timeout_seconds) as client:
        with pytest.raises(PrometheusError) as caught:
            await client.ask(url, "up")
    return caught.value


async def test_a_query_is_posted_beneath_the_base_address() -> None:
    seen: list[tuple[str, str, str, str]] = []

    async def handler(request: web.Request) -> web.Response:
        form = await request.post()
        seen.append((request.method, request.path, request.query_string, str(form["query"])))
        return web.json_response(GOOD)

    async with answering(handler) as url, PrometheusClient() as client:
        assert await client.ask(url, "up") == GOOD
        await client.ask(f"{url}/", "up")
        await client.ask(f"{url}/tenant/prometheus?dedup=true", "up > 0")
    assert seen == [
        ("POST", "/api/v1/query", "", "up"),
        ("POST", "/api/v1/query", "", "up"),
        ("POST", "/tenant/prometheus/api/v1/query", "dedup=true", "up > 0"),
    ]


def said(status: int, text: str, kind: str = "text/html", **headers: str) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=status, text=text, content_type=kind, headers=headers)

    return handler


@pytest.mark.parametrize(
    ("handler", "kind", "words"),
    [
        (said(200, "<html>Grafana</html>"), "not_prometheus", "answers (text/html), but not as Prometheus does"),
        (said(200, "[" * 100_000, "application/json"), "not_prometheus", "answers (application/json)"),
        (
            said(200, '{"hello": "world"}', "application/json"),
            "not_prometheus",
            "check spec.autoscaling.prometheus.url",
        ),
        (said(200, "NaN", "application/json"), "not_prometheus", "not as Prometheus does"),
        (said(404, "page not found"), "refused", "HTTP status 404; is Prometheus up, and is this its address?"),
        (said(503, "Service Unavailable"), "refused", "HTTP status 503"),
        (said(401, "who are you?"), "refused", "refuses (401)"),
        (
            said(422, json.dumps({"status": "error", "error": "too many samples"}), "application/json"),
            "refused",
            "answered with an error (422): too many samples",
        ),
        (said(302, "", Location="/login?then=secret"), "redirect", "/login; write the address it leads to"),
        (said(308, "", Location="http://[broken"), "redirect", "redirects to elsewhere"),
    ],
)
async def test_other_answers(handler: Handler, kind: str, words: str) -> None:
    async with answering(handler) as url:
        found = await problem(url)
    assert (found.kind, words in found.message) == (kind, True), found.message
    assert found.message.startswith(url)
    assert "secret" not in found.message
    assert len(found.message) < 600


async def test_a_redirect_is_not_followed() -> None:
    reached: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        reached.append(request.path)
        raise web.HTTPTemporaryRedirect("/elsewhere")

    async with answering(handler) as url:
        await problem(url)
    assert reached == ["/api/v1/query"]


async def test_an_answer_without_end_is_cut() -> None:
    sent = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        while True:
            await response.write(b"[" * 65536)
            sent += 65536

    async with answering(handler) as url:
        found = await problem(url)
    assert found.kind == "too_large"
    assert sent < 100 * MOST_ANSWER_BYTES


@pytest.mark.parametrize("prompt", [False, True])
async def test_a_slow_server_costs_the_timeout_and_no_more(prompt: bool) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if prompt:  # The head of an answer, and then a drop once in a while.
            await response.prepare(request)
        while True:
            await asyncio.sleep(0.05)
            if prompt:
                await response.write(b" ")

    async with answering(handler) as url:
        began = asyncio.get_running_loop().time()
        found = await problem(url, timeout_seconds=0.3)
        took = asyncio.get_running_loop().time() - began
    assert found.kind == "timeout"
    assert "did not answer within 0.3 s" in found.message
    assert took < 2.0


async def test_nobody_listens() -> None:
    found = await problem(f"http://127.0.0.1:{unused_port()}")
    assert found.kind == "unreachable"
    assert "onnect" in found.message
    assert "does a Prometheus listen there" in found.message


@pytest.mark.parametrize(
    "url",
    [
        "http://x:99999",
        "http://[::1",
        "http://:9090",
        "http://a b",
        "http://" + "x" * 70 + ".svc",
        "http://x:y",
        "http://\u2100",
    ],
)
async def test_what_is_no_address(url: str) -> None:
    found = await problem(url)
    assert found.kind in ("address", "unreachable")
    assert "prometheus" in found.message.lower()


async def test_a_name_that_does_not_exist() -> None:
    found = await problem("http://prometheus.invalid:9090")
    assert (found.kind, "its name does not resolve" in found.message) == ("unreachable", True)


async def test_a_connection_that_is_dropped() -> None:
    async def drop(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(drop, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        found = await problem(f"http://127.0.0.1:{port}")
    assert (found.kind, "closed the connection" in found.message) == ("unreachable", True)


async def test_something_that_speaks_no_http() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        await reader.read(1)

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        found = await problem(f"http://127.0.0.1:{port}")
    assert found.kind == "unreachable"
    assert "is this the address of a Prometheus?" in found.message


async def test_credentials_in_the_address_are_used_and_never_shown() -> None:
    seen: list[str | None] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.Response(status=403)

    async with answering(handler) as url:
        found = await problem(url.replace("http://", "http://reader:hunter2@"))
    assert (seen[0] or "").startswith("Basic ")
    assert "hunter2" not in found.message
    assert "reader" not in found.message


async def test_one_server_gets_a_few_questions_at_a_time_and_others_do_not_wait() -> None:
    now, most = 0, 0
    go_on = asyncio.Event()

    async def slow(request: web.Request) -> web.Response:
        nonlocal now, most
        now, most = now + 1, max(most, now + 1)
        await go_on.wait()
        now -= 1
        return web.json_response(GOOD)

    async with (
        answering(slow) as url,
        answering(said(200, json.dumps(GOOD), "application/json")) as quick,
        PrometheusClient() as client,
    ):
        asked = [asyncio.create_task(client.ask(url, "up")) for _ in range(3 * AT_ONCE)]
        assert await asyncio.wait_for(client.ask(quick, "up"), 2.0) == GOOD
        go_on.set()
        assert await asyncio.gather(*asked) == [GOOD] * (3 * AT_ONCE)
    assert most <= AT_ONCE


async def test_proxies_are_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    async def proxy(request: web.Request) -> web.Response:
        return web.json_response({**GOOD, "infos": [str(request.url)]})

    async with answering(proxy) as url:
        monkeypatch.setenv("HTTP_PROXY", url)
        monkeypatch.setenv("http_proxy", url)
        async with PrometheusClient() as client:
            answer = await client.ask("http://prometheus.monitoring:9090", "up")
    assert answer["infos"] == ["http://prometheus.monitoring:9090/api/v1/query"]
