"""Replicas written on the command line."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from fastgen_server.balancer.discovery.base import OnList
from fastgen_server.balancer.pool import Discovered
from fastgen_server.balancer.replica import ReplicaAddress


class StaticDiscovery:
    """A list that never changes."""

    def __init__(self, addresses: Sequence[ReplicaAddress]) -> None:
        self._found = [Discovered(address) for address in addresses]

    async def run(self, on_list: OnList) -> None:
        on_list(self._found)
        await asyncio.Event().wait()
