"""The one substitute for Service DNS and virtual IPs: an HTTP proxy that knows Services by name.

A cluster has names (`http://llama.default:80/v1`) and addresses for Services because its nodes run a DNS server and
rewrite packets. On a machine without either, programs that honour HTTP_PROXY ask this proxy instead, and it passes
each request to a ready pod behind the Service, as a node would. What it passes on, it does not change: bodies stream
both ways as they come, and an answer that breaks off breaks off for the client too.

    python -m fastgen_devcluster.service_proxy --port P --server URL --authority F --certificate F --key F
           [--static prometheus.monitoring=127.0.0.1:20001]

Plain HTTP only: TLS and gRPC go through CONNECT, which is refused. Requests for loopback addresses are passed on as
they are, because not every client can be told with NO_PROXY to leave out 127.0.0.0/8.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ipaddress
import logging
import random
import signal
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from fastgen_devcluster.api import USER_AGENT
from fastgen_devcluster.ports import LOOPBACK
from fastgen_devcluster.service_watch import MAX_LINE_BYTES, ServiceDirectory
from fastgen_devcluster.services import Address, NoAddressError, parse_name

CONNECT_SECONDS = 5.0
HOP_BY_HOP = (
    *("Connection", "Proxy-Connection", "Keep-Alive", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "Expect"),
    *("Proxy-Authorization", "Proxy-Authenticate"),
)
HELP = "this is the devcluster's proxy for Service names: use it as HTTP_PROXY, for http://NAME.NAMESPACE:PORT/..."


class Refused(NamedTuple):
    """Why a request is not passed on."""

    status: int
    message: str


class Route(NamedTuple):
    """Where a request goes."""

    address: Address
    path: str
    """With the query, as the client wrote it."""


class ServiceProxy:
    """See the module."""

    def __init__(
        self, directory: ServiceDirectory, session: aiohttp.ClientSession, static: Mapping[str, Address]
    ) -> None:
        """`static` names addresses that are no Service's, such as prometheus.monitoring; any port leads there."""
        self._directory = directory
        self._session = session
        self._static = static

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """One request from a client."""
        route = self._route(request)
        if isinstance(route, Refused):
            return _refusal(request, route)
        try:
            upstream = await self._ask(request, route)
        except TimeoutError:
            return _refusal(request, Refused(504, f"tried {route.address}: no connection in {CONNECT_SECONDS:g} s"))
        except (aiohttp.ClientError, OSError) as error:
            return _refusal(request, Refused(502, f"tried {route.address}: {error or type(error).__name__}"))
        async with upstream:
            return await _pass_back(request, upstream)

    def _route(self, request: web.BaseRequest) -> Route | Refused:
        target = request.raw_path
        if request.method == "CONNECT":
            return Refused(501, f"{HELP}; CONNECT (TLS, gRPC) is not for it: connect to a pod's own address")
        if not target.startswith("http://"):
            if target == "/readyz":
                ready = self._directory.is_ready()
                return Refused(200 if ready else 503, "ready" if ready else "has not read the Services yet")
            return Refused(400, HELP)
        try:
            url = urlsplit(target)
            host, port = url.hostname or "", url.port or 80
        except ValueError as error:
            return Refused(400, f"{target}: {error}")
        path = target[len("http://") + len(url.netloc) :]
        path = path if path.startswith("/") else f"/{path}"
        try:
            return Route(random.choice(self._addresses(host, port)), path)  # noqa: S311 - as a node's packet filter does
        except NoAddressError as error:
            return Refused(502, str(error))

    def _addresses(self, host: str, port: int) -> Sequence[Address]:
        if _is_loopback(host):
            return [Address(host, port)]
        key = parse_name(host)
        if key is None:
            raise NoAddressError(f"'{host}' is neither NAME.NAMESPACE[.svc[.cluster.local]] nor a loopback address")
        static = self._static.get(f"{key.name}.{key.namespace}")
        return [static] if static else self._directory.addresses(key, port)

    async def _ask(self, request: web.BaseRequest, route: Route) -> aiohttp.ClientResponse:
        if request.headers.get("Expect", "").lower() == "100-continue":
            assert request.transport is not None
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return await self._session.request(
            request.method,
            URL(f"http://{route.address}{route.path}", encoded=True),
            headers=_end_to_end(request.headers),
            data=request.content.iter_any() if request.can_read_body else None,
            allow_redirects=False,
        )


async def _pass_back(request: web.BaseRequest, upstream: aiohttp.ClientResponse) -> web.StreamResponse:
    answer = web.StreamResponse(status=upstream.status, reason=upstream.reason, headers=_end_to_end(upstream.headers))
    if "Content-Length" not in upstream.headers and request.version >= aiohttp.HttpVersion11:
        answer.enable_chunked_encoding()
    await answer.prepare(request)
    try:
        async for chunk in upstream.content.iter_any():
            await answer.write(chunk)
        await answer.write_eof()
    except (aiohttp.ClientError, OSError) as error:
        log.info("%s: broke off: %s", upstream.url, error)
        if request.transport is not None:
            request.transport.abort()  # no proper end, or the client would take half an answer for a whole one
    return answer


def _end_to_end(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    """Without what belongs to this one connection."""
    kept = CIMultiDict(headers)
    named = [name.strip() for value in headers.getall("Connection", ()) for name in value.split(",")]
    for name in (*HOP_BY_HOP, *named):
        kept.popall(name, None)
    return kept


def _refusal(request: web.BaseRequest, refused: Refused) -> web.Response:
    if refused.status >= 400:
        log.info("%s %s: %s", request.method, request.raw_path, refused.message)
    answer = web.Response(status=refused.status, text=f"devcluster service proxy: {refused.message}\n")
    if request.method == "CONNECT":
        answer.force_close()
    return answer


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


log = logging.getLogger("service-proxy")


@contextlib.asynccontextmanager
async def serving(arguments: argparse.Namespace) -> AsyncIterator[None]:
    """The proxy, listening."""
    tls = ssl.create_default_context(cafile=arguments.authority)
    tls.load_cert_chain(arguments.certificate, arguments.key)
    static = dict(arguments.static)
    async with contextlib.AsyncExitStack() as stack:
        api = await stack.enter_async_context(
            aiohttp.ClientSession(
                arguments.server,
                connector=aiohttp.TCPConnector(ssl=tls),
                headers={"User-Agent": f"{USER_AGENT}-service-proxy"},
                read_bufsize=MAX_LINE_BYTES,
            )
        )
        # One connection a request: a kept one may be closed by its pod just when a request that cannot be repeated
        # is sent over it. Nothing is added to what the client sent, and nothing unpacked.
        pods = await stack.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, force_close=True),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
                skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
                auto_decompress=False,
            )
        )
        directory = ServiceDirectory(api)
        following = asyncio.create_task(directory.follow())
        server = web.Server(ServiceProxy(directory, pods, static).handle, handler_cancellation=True, access_log=None)
        runner = web.ServerRunner(server, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, LOOPBACK, arguments.port).start()
            yield
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await runner.cleanup()


async def run(arguments: argparse.Namespace) -> None:
    """Until SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with serving(arguments):
        await stop.wait()


def _static_entry(text: str) -> tuple[str, Address]:
    name, _, address = text.partition("=")
    host, _, port = address.rpartition(":")
    if parse_name(name) is None or not host or not port.isdigit():
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME.NAMESPACE=HOST:PORT")
    return name, Address(host, int(port))


def main() -> None:
    parser = argparse.ArgumentParser(prog="fastgen_devcluster.service_proxy", description=HELP)
    parser.add_argument("--port", type=int, required=True, help="where to listen on loopback")
    parser.add_argument("--server", required=True, help="URL of the API server")
    for name in ("authority", "certificate", "key"):
        parser.add_argument(f"--{name}", required=True, help=f"PEM file of the {name} to talk to it with")
    parser.add_argument(
        "--static",
        type=_static_entry,
        action="append",
        default=[],
        metavar="NAME.NAMESPACE=HOST:PORT",
        help="a name that is no Service's; repeat it for more",
    )
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
