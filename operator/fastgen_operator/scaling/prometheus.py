"""Asking Prometheus. Addresses come from manifests, so an answer may be anything, from anyone, or never come."""

from __future__ import annotations

import asyncio
import contextlib
import json
from types import TracebackType
from typing import Any, Literal, Self
from weakref import WeakValueDictionary

import aiohttp
from yarl import URL

from fastgen.errors import FastGenError

QUERY_PATH = "api/v1/query"
MOST_ANSWER_BYTES = 256 * 1024
"""An honest answer has about 2 KiB."""
AT_ONCE = 8
"""Queries to one server at the same time; more wait for their turn."""
MOST_CHARACTERS = 200
"""Of somebody else's words within ours."""

Kind = Literal["address", "unreachable", "timeout", "redirect", "refused", "too_large", "not_prometheus"]


class PrometheusError(FastGenError):
    """Prometheus did not answer, or something else did. The message names the address and says what to do."""

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


class PrometheusClient:
    """`async with PrometheusClient() as client: answer = await client.ask(url, query)`.

    Honours HTTP_PROXY, HTTPS_PROXY and NO_PROXY. Follows no redirect: whoever can write a manifest chooses the address
    that the operator asks, and nobody else.
    """

    def __init__(self, timeout_seconds: float = 5.0) -> None:
        self._timeout_seconds = timeout_seconds
        self._session: aiohttp.ClientSession | None = None
        # Weak: addresses come and go with manifests.
        self._turns: WeakValueDictionary[URL, asyncio.Semaphore] = WeakValueDictionary()

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            trust_env=True,
            timeout=aiohttp.ClientTimeout(total=self._timeout_seconds),
            # Identity: an answer is as long as it says, and no bomb unpacks here.
            headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "fastgen-operator"},
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=10),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def ask(self, base_url: str, query: str) -> dict[str, Any]:
        """The JSON object that Prometheus answered an instant query with; its status is success.

        Raises PrometheusError for everything else. The timeout begins when the query has its turn.
        """
        assert self._session is not None, "use `async with`"
        url, where = _query_address(base_url)
        turn = self._turns.setdefault(url.origin(), asyncio.Semaphore(AT_ONCE))
        async with turn:
            try:
                async with self._session.post(url, data={"query": query}, allow_redirects=False) as response:
                    return _understood(where, response, await _body(where, response))
            except TimeoutError:
                words = f"{where} did not answer within {self._timeout_seconds:g} s; is it overloaded?"
                raise PrometheusError("timeout", words) from None
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise PrometheusError("unreachable", f"{where} cannot be reached: {_why(error)}") from None


def _query_address(base_url: str) -> tuple[URL, str]:
    """Where to POST a query, and how to speak of it. What the base address asks for (a tenant, say) is kept."""
    try:
        base = URL(base_url)
        url = base.with_path(f"{base.path.rstrip('/')}/{QUERY_PATH}").with_query(base.query)
        return url.with_fragment(None), _shown(base)
    except ValueError as error:
        words = "spec.autoscaling.prometheus.url is no address; write it as http://prometheus.monitoring:9090"
        raise PrometheusError("address", words) from error


def _shown(url: URL) -> str:
    """An address as messages may show it: without credentials and query."""
    host = url.raw_host or "?"
    port = "" if url.is_default_port() or url.port is None else f":{url.port}"
    return f"{url.scheme}://{host}{port}{url.path.rstrip('/')}"[:MOST_CHARACTERS]


def _why(error: Exception) -> str:
    """In words that stay the same from one look to the next."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name does not resolve; check spec.autoscaling.prometheus.url and the cluster's DNS"
    if isinstance(error, aiohttp.ClientSSLError):
        return "its certificate is not trusted here, or it does not speak TLS"
    if isinstance(error, aiohttp.ClientProxyConnectionError | aiohttp.ClientHttpProxyError):
        return "the proxy that HTTP_PROXY or HTTPS_PROXY names does not answer, or refuses"
    if isinstance(error, aiohttp.ClientConnectorError):
        reason = error.os_error.strerror or type(error.os_error).__name__
        return f"{reason}; does a Prometheus listen there, and does a NetworkPolicy let the operator through?"
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionError):
        return "it closed the connection without an answer"
    return f"{type(error).__name__}; is this the address of a Prometheus?"


async def _body(where: str, response: aiohttp.ClientResponse) -> bytes:
    """The whole answer, unless it is too long to be one."""
    body = bytearray()
    async for piece in response.content.iter_chunked(16 * 1024):
        body += piece
        if len(body) > MOST_ANSWER_BYTES:
            response.close()
            words = (
                f"{where} answers with more than {MOST_ANSWER_BYTES // 1024} KiB; check spec.autoscaling.prometheus.url"
            )
            raise PrometheusError("too_large", words)
    return bytes(body)


def _understood(where: str, response: aiohttp.ClientResponse, body: bytes) -> dict[str, Any]:
    """The answer, if it is one of Prometheus' and says success."""
    if 300 <= response.status < 400:
        to = "elsewhere"
        with contextlib.suppress(ValueError):
            to = _shown(response.url.join(URL(response.headers.get("Location", ""))))
        raise PrometheusError(
            "redirect", f"{where} redirects to {to}; write the address it leads to into spec.autoscaling.prometheus.url"
        )
    if response.status in (401, 403, 407):
        words = f"{where} refuses ({response.status}); the operator needs an address that it may query"
        raise PrometheusError("refused", words)
    answer = None
    with contextlib.suppress(ValueError, RecursionError):
        answer = json.loads(body)
    if isinstance(answer, dict) and answer.get("status") == "error":
        said = str(answer.get("error") or "an error without words")[:MOST_CHARACTERS]
        raise PrometheusError("refused", f"{where} answered with an error ({response.status}): {said}")
    if response.status != 200:
        words = f"{where} answered with HTTP status {response.status}; is Prometheus up, and is this its address?"
        raise PrometheusError("refused", words)
    if not isinstance(answer, dict) or answer.get("status") != "success":
        kind = response.headers.get("Content-Type", "nothing known").partition(";")[0][:MOST_CHARACTERS]
        words = f"{where} answers ({kind}), but not as Prometheus does; check spec.autoscaling.prometheus.url"
        raise PrometheusError("not_prometheus", words)
    return answer
