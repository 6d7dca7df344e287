"""Asks each replica's /readyz, again and again, and tells its health what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

import aiohttp

from fastgen.contract.headers import OUTSTANDING_TOKENS
from fastgen_server.balancer.config import BalancerConfig
from fastgen_server.balancer.health import ReplicaState
from fastgen_server.balancer.pool import Pool
from fastgen_server.balancer.replica import Replica

log = logging.getLogger("fastgen.balancer")

IMPATIENT_SECONDS = 0.2
"""How soon a replica that is not ready is asked again: it may be starting, and requests may wait for it."""


class Prober:
    """One task for each replica in the pool."""

    def __init__(self, config: BalancerConfig, pool: Pool, session: aiohttp.ClientSession) -> None:
        self._config = config
        self._pool = pool
        self._session = session
        self._tasks: dict[Replica, asyncio.Task[None]] = {}
        pool.on_added = self._start

    def _start(self, replica: Replica) -> None:
        self._tasks[replica] = asyncio.create_task(self._watch(replica), name=f"probe {replica.name}")

    def stop(self, replica: Replica) -> None:
        """The replica is gone: ask no more."""
        if task := self._tasks.pop(replica, None):
            task.cancel()

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, replica: Replica) -> None:
        while True:
            replica.probe_now.clear()
            before = replica.state
            await self._probe(replica)
            if replica.state is not before:
                log.info("replica %s: %s -> %s", replica.name, before.value, replica.state.value)
                self._pool.changed()
            interval = self._config.health_interval_seconds
            if replica.state is not ReplicaState.READY:
                interval = min(interval, IMPATIENT_SECONDS)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval):
                    await replica.probe_now.wait()

    async def _probe(self, replica: Replica) -> None:
        timeout = aiohttp.ClientTimeout(total=self._config.health_timeout_seconds)
        try:
            url = f"http://{replica.address.http}/readyz"
            async with self._session.get(url, timeout=timeout, allow_redirects=False) as response:
                ready = response.status == 200
                reported = response.headers.get(OUTSTANDING_TOKENS, "")
        except TimeoutError:
            replica.health.probe_failed(timed_out=True)
            return
        except (aiohttp.ClientError, OSError):
            replica.health.probe_failed()
            return
        now = time.monotonic()
        if not ready:
            replica.health.probe_failed()
            return
        replica.health.probe_succeeded(now)
        if reported.isdigit():
            fresh = 3 * self._config.health_interval_seconds
            replica.report(int(reported[:12]), now, fresh_seconds=fresh)
