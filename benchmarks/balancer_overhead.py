"""What the balancer costs: latency and throughput with and without it, in front of a replica that does nothing.

python benchmarks/balancer_overhead.py

Client, balancer and replica are processes of this machine and share its cores, so throughput through the balancer
is that of the whole chain. Medians of rounds that take turns, so that a busy neighbour slows both ways alike.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import grpc.aio
from aiohttp import web

EVENTS = 200
ANSWER = json.dumps({"choices": [{"text": " word" * 40}]}).encode()
EVENT = b'data: {"choices": [{"text": " word"}]}\n\n'
WHOLE = json.dumps({"prompt": "word " * 400, "max_tokens": 64}).encode()
STREAM = json.dumps({"prompt": "word " * 400, "max_tokens": 64, "stream": True}).encode()
UNARY, SERVER_STREAM = "/fastgen.v1.Generation/Generate", "/fastgen.v1.Generation/GenerateStream"

Ask = Callable[[], Awaitable[object]]


class _Methods(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    def service(self, details: grpc.HandlerCallDetails) -> Any:
        if details.method == UNARY:
            return grpc.unary_unary_rpc_method_handler(_answer)
        return grpc.unary_stream_rpc_method_handler(_answer_in_pieces)


async def _answer(_request: bytes, _context: Any) -> bytes:
    return ANSWER


async def _answer_in_pieces(_request: bytes, context: Any) -> None:
    for _ in range(EVENTS):
        await context.write(EVENT)


async def _http(request: web.BaseRequest) -> web.StreamResponse:
    body = await request.read()
    if b'"stream"' not in body:
        return web.Response(body=ANSWER, content_type="application/json")
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for _ in range(EVENTS):
        await response.write(EVENT)
    return response


async def idle_replica(address_file: Path) -> None:
    """A replica that answers at once, always the same."""
    runner = web.ServerRunner(web.Server(_http, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server = grpc.aio.server(handlers=(_Methods(),))
    grpc_port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    address = {"http": f"127.0.0.1:{runner.addresses[0][1]}", "grpc": f"127.0.0.1:{grpc_port}"}
    part = address_file.with_suffix(".part")
    part.write_text(json.dumps(address))
    part.replace(address_file)
    await asyncio.Event().wait()


@contextlib.contextmanager
def started(address_file: Path, *command: str) -> Iterator[dict[str, str]]:
    """A process that writes its addresses; ended at the end."""
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not address_file.exists():
            if process.poll() is not None:
                raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
            time.sleep(0.05)
        yield json.loads(address_file.read_text())
    finally:
        process.terminate()
        process.wait()


async def latency_ms(ask: Ask, count: int) -> float:
    """Median of requests one after another."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        await ask()
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


async def per_second(ask: Ask, count: int, clients: int) -> float:
    """Requests a second of so many clients at once."""
    left = count

    async def client() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await ask()

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return count / (time.perf_counter() - began)


async def compare(name: str, direct: Ask, through: Ask, rounds: int) -> None:
    """Print one line: median latency and throughput both ways."""
    rows: list[Sequence[float]] = []
    for _ in range(rounds):
        row = [await latency_ms(ask, 200) for ask in (direct, through)]
        row += [await per_second(ask, 1000, 32) for ask in (direct, through)]
        rows.append(row)
    a, b, c, d = (statistics.median(column) for column in zip(*rows, strict=True))
    print(f"{name:24} {a:8.2f} {b:8.2f} {b - a:+8.2f} {c:10.0f} {d:10.0f}")


async def compare_streams(name: str, direct: Ask, through: Ask, rounds: int) -> None:
    """Print one line: pieces a second of 16 streams at once."""
    rows = [[EVENTS * await per_second(ask, 64, 16) for ask in (direct, through)] for _ in range(rounds)]
    a, b = (statistics.median(column) for column in zip(*rows, strict=True))
    print(f"{name:24} {'':8} {'':8} {'':8} {a:10.0f} {b:10.0f}")


async def measure(replica: dict[str, str], balancer: dict[str, str], rounds: int) -> None:
    async with contextlib.AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))

        def by_http(address: dict[str, str], body: bytes) -> Ask:
            async def ask() -> None:
                async with session.post(f"http://{address['http']}/v1/completions", data=body) as response:
                    await response.read()

            return ask

        def by_grpc(channel: Any, body: bytes, *, stream: bool) -> Ask:
            async def whole() -> None:
                await channel.unary_unary(UNARY)(body)

            async def pieces() -> None:
                async for _ in channel.unary_stream(SERVER_STREAM)(body):
                    pass

            return pieces if stream else whole

        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(address["grpc"]))
            for address in (replica, balancer)
        ]
        print(f"{'medians':24} {'direct':>8} {'through':>8} {'added':>8} {'direct':>10} {'through':>10}")
        print(f"{'':24} {'ms':>8} {'ms':>8} {'ms':>8} {'per s':>10} {'per s':>10}")
        await compare("HTTP, requests", by_http(replica, WHOLE), by_http(balancer, WHOLE), rounds)
        await compare_streams("HTTP, streamed events", by_http(replica, STREAM), by_http(balancer, STREAM), rounds)
        whole = [by_grpc(channel, WHOLE, stream=False) for channel in channels]
        await compare("gRPC, requests", whole[0], whole[1], rounds)
        streams = [by_grpc(channel, WHOLE, stream=True) for channel in channels]
        await compare_streams("gRPC, streamed messages", streams[0], streams[1], rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="rounds per line (default: %(default)s)")
    parser.add_argument("--replica-into", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.replica_into is not None:
        asyncio.run(idle_replica(args.replica_into))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with started(folder / "replica.json", __file__, "--replica-into", str(folder / "replica.json")) as replica:
            words = ["-m", "fastgen_server", "balance", "--replica", f"http={replica['http']},grpc={replica['grpc']}"]
            words += ["--host", "127.0.0.1", "--port", "0", "--grpc-port", "0"]
            words += ["--address-file", str(folder / "balancer.json")]
            with started(folder / "balancer.json", *words) as balancer:
                asyncio.run(measure(replica, balancer, args.rounds))


if __name__ == "__main__":
    main()
