"""A balancer of this process in front of replicas of this process: real sockets, one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

import aiohttp
from fake_replica import FakeReplica
from waiting import eventually_async

from fastgen_server.balancer.app import Balancer
from fastgen_server.balancer.config import BalancerConfig
from fastgen_server.balancer.discovery.static import StaticDiscovery
from fastgen_server.balancer.pool import Discovered
from fastgen_server.balancer.replica import ReplicaAddress

QUICK: dict[str, Any] = {
    "host": "127.0.0.1",
    "port": 0,
    "grpc_port": 0,
    "health_interval_seconds": 0.1,
    "eject_seconds": 0.2,
}


class Behind(Protocol):
    """What stands behind a balancer in these tests: a fake one or a real one."""

    @property
    def address(self) -> ReplicaAddress: ...

    @property
    def ready(self) -> bool: ...


class Front:
    """A balancer and a client of it."""

    def __init__(self, balancer: Balancer, client: aiohttp.ClientSession) -> None:
        self.balancer = balancer
        self.client = client
        self.url = f"http://{balancer.http_address}"

    def post(self, path: str = "/v1/completions", **orders: Any) -> Any:
        return self.client.post(self.url + path, json=orders)

    def start(self, **orders: Any) -> asyncio.Task[aiohttp.ClientResponse]:
        """A request that goes on by itself."""

        async def go() -> aiohttp.ClientResponse:
            return await self.client.post(self.url, json=orders)

        return asyncio.ensure_future(go())

    async def metric(self, line: str) -> float:
        """The value of the sample whose name and labels are `line`."""
        async with self.client.get(self.url + "/metrics") as response:
            text = await response.text()
        for sample in text.splitlines():
            name, _, value = sample.rpartition(" ")
            if name == line:
                return float(value)
        return 0.0


@asynccontextmanager
async def front_of(*replicas: Behind, wait_ready: bool = True, **options: Any) -> AsyncIterator[Front]:
    """A balancer in front of `replicas`, once those that are ready are known to be."""
    config = BalancerConfig(**{**QUICK, **options})
    discovery = StaticDiscovery([replica.address for replica in replicas])
    async with Balancer(config, discovery) as balancer, aiohttp.ClientSession() as client:
        if wait_ready:
            expected = sum(replica.ready for replica in replicas)
            await eventually_async(lambda: len(balancer.pool.ready("http")) == expected)
        yield Front(balancer, client)


def listed(*replicas: FakeReplica) -> list[Discovered]:
    return [Discovered(replica.address) for replica in replicas]
