"""An operator's life: listen, wait for the Lease, act, and on SIGTERM hand the Lease on.

starting ──► standby ──► leader ──► stopping
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal

from prometheus_client import CollectorRegistry

from fastgen_operator.acting import Acting
from fastgen_operator.api.access import connect, own_name, own_namespace
from fastgen_operator.api.client import Api
from fastgen_operator.config import OperatorConfig
from fastgen_operator.http_server import HttpServer, State
from fastgen_operator.lease import Lease, LeaseLostError
from fastgen_operator.metrics import OperatorMetrics

log = logging.getLogger("fastgen.operator")

LEAVE_SECONDS = 2.0
"""How long work that was begun may take to end after SIGTERM; what is left is found by the successor."""


class App:
    """One process. `await run()` is its exit status."""

    def __init__(self, config: OperatorConfig) -> None:
        self._config = config
        self._metrics = OperatorMetrics(CollectorRegistry())
        self._http = HttpServer(self._metrics.registry, lambda: self._state)
        self._state: State = "starting"

    async def run(self) -> int:
        """0 after SIGTERM or SIGINT; 1 where the Lease was lost. Raises FastGenError where it cannot start."""
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        address = await self._http.start(self._config.host, self._config.port)
        log.info("listening on http://%s (/healthz, /readyz, /metrics)", address)
        transport = await connect(self._metrics.count_call)
        try:
            return await self._live(Api(transport), stop)
        finally:
            await transport.close()  # type: ignore[no-untyped-call]
            await self._http.stop()

    async def _live(self, api: Api, stop: asyncio.Event) -> int:
        lease = Lease(api, self._config.lease_namespace or own_namespace(), self._config.lease_name, own_name())
        stopped = asyncio.create_task(stop.wait())
        try:
            self._state = "standby"
            if not await _first(asyncio.create_task(lease.acquire()), stopped):
                return 0
            self._metrics.leader.set(1)
            self._state = "starting"
            return await self._act(Api(api.transport, lease.check), lease, stopped)
        finally:
            self._state = "stopping"
            self._metrics.leader.set(0)
            stopped.cancel()
            await lease.release()

    async def _act(self, api: Api, lease: Lease, stopped: asyncio.Task[bool]) -> int:
        acting = Acting(self._config, api, self._metrics, lease.identity)
        work = asyncio.create_task(acting.run())
        keep = asyncio.create_task(lease.keep())
        started = asyncio.create_task(self._note_start(acting))
        try:
            await asyncio.wait((work, keep, stopped), return_when=asyncio.FIRST_COMPLETED)
            if stopped.done():
                return 0
            for task in (keep, work):
                if task.done():
                    await task
            raise RuntimeError("a part of the operator ended without a word")
        except LeaseLostError as error:
            log.error("%s; this process ends, so that only one acts", error)
            return 1
        finally:
            for task in (started, keep, work):
                task.cancel()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEAVE_SECONDS):
                    await asyncio.gather(started, keep, work, return_exceptions=True)

    async def _note_start(self, acting: Acting) -> None:
        await acting.is_started.wait()
        self._state = "leader"


async def _first(task: asyncio.Task[None], stopped: asyncio.Task[bool]) -> bool:
    """Whether `task` ended before the signal came. Raises what it raised."""
    await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await task
        return True
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return False
