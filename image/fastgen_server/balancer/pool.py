"""The replicas there are, who is picked, and who waits while nobody can be.

    discovery --list--> Pool <--probes-- prober
                         |  acquire(): a Lease on a ready replica,
                         |             or a place in the queue until there is one
    proxies -------------+

Invariants: a replica's `in_flight` and `own_tokens` are the sum over its open leases; a replica that left
the list keeps its leases and is forgotten with the last of them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Literal, NamedTuple

from fastgen_server.balancer.config import BalancerConfig
from fastgen_server.balancer.health import Health, ReplicaState
from fastgen_server.balancer.metrics import BalancerMetrics
from fastgen_server.balancer.policies import Policy
from fastgen_server.balancer.replica import Lease, Replica, ReplicaAddress
from fastgen_server.balancer.work import Work

log = logging.getLogger("fastgen.balancer")

Kind = Literal["http", "grpc"]


class Discovered(NamedTuple):
    """One entry of the list of replicas. A draining one gets nothing new."""

    address: ReplicaAddress
    draining: bool = False


class NoReplicaError(Exception):
    """Nobody can take this request: too many wait already, or it waited too long."""

    def __init__(self, message: str, *, reason: Literal["hold_full", "hold_timeout"]) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason


class Pool:
    """All replicas. Single-threaded: every method runs on the event loop."""

    def __init__(self, config: BalancerConfig, policy: Policy, metrics: BalancerMetrics) -> None:
        self._config = config
        self._policy = policy
        self._metrics = metrics
        self._replicas: dict[ReplicaAddress, Replica] = {}
        self._held: deque[asyncio.Future[None]] = deque()
        self.on_added: Callable[[Replica], None] = lambda _replica: None
        self.on_forgotten: Callable[[Replica], None] = lambda _replica: None

    @property
    def replicas(self) -> Collection[Replica]:
        return self._replicas.values()

    @property
    def num_held(self) -> int:
        return len(self._held)

    def update(self, found: Sequence[Discovered]) -> None:
        """The list is now `found`; what is not in it drains."""
        listed = {entry.address: entry.draining for entry in found}
        for address, draining in listed.items():
            replica = self._replicas.get(address)
            if replica is None:
                if draining:
                    continue
                replica = self._replicas[address] = Replica(address, self._new_health())
                log.info("replica %s joined (http %s, grpc %s)", replica.name, address.http, address.grpc)
                self.on_added(replica)
            elif replica.draining != draining:
                log.info("replica %s %s", replica.name, "drains" if draining else "is back")
            replica.draining = draining
        for replica in [r for address, r in self._replicas.items() if address not in listed]:
            if not replica.draining:
                log.info("replica %s left the list with %d requests in flight", replica.name, replica.in_flight)
            replica.draining = True
            self._forget_if_done(replica)
        self.changed()

    def _new_health(self) -> Health:
        config = self._config
        return Health(
            eject_failures=config.eject_failures,
            eject_seconds=config.eject_seconds,
            eject_max_seconds=config.eject_max_seconds,
        )

    def _forget_if_done(self, replica: Replica) -> None:
        if replica.draining and replica.in_flight == 0 and replica.address in self._replicas:
            del self._replicas[replica.address]
            log.info("replica %s has finished its requests and is forgotten", replica.name)
            self.on_forgotten(replica)

    def changed(self) -> None:
        """Some replica's state may have changed: those who wait look again."""
        if any(r.state is ReplicaState.READY for r in self._replicas.values()):
            for waiting in self._held:
                if not waiting.done():
                    waiting.set_result(None)

    def ready(self, kind: Kind) -> list[Replica]:
        """The replicas that may be given a request of this kind now."""
        return [
            r
            for r in self._replicas.values()
            if r.state is ReplicaState.READY and (kind == "http" or r.address.grpc is not None)
        ]

    def has_other(self, kind: Kind, tried: Iterable[Replica]) -> bool:
        """Is there a ready replica that is not among `tried`?"""
        return bool(set(self.ready(kind)).difference(tried))

    async def acquire(self, kind: Kind, work: Work, tried: Collection[Replica] = ()) -> Lease:
        """A lease on a ready replica, one not among `tried` if there is any. Waits while none is ready.

        Raises NoReplicaError when too many wait already or the wait was too long.
        """
        ready = self.ready(kind)
        if not ready:
            ready = await self._hold(kind)
        choices = [r for r in ready if r not in tried] or ready
        now = time.monotonic()
        chosen = choices[self._policy.pick([r.load(now) for r in choices])] if len(choices) > 1 else choices[0]
        return Lease(chosen, work, self._forget_if_done)

    async def _hold(self, kind: Kind) -> list[Replica]:
        config = self._config
        if len(self._held) >= config.hold_requests:
            raise NoReplicaError(
                f"no replica is ready and {len(self._held)} requests wait already (hold_requests="
                f"{config.hold_requests}); try again shortly",
                reason="hold_full",
            )
        began = time.monotonic()
        deadline = began + config.hold_seconds
        try:
            while not (ready := self.ready(kind)):
                waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._held.append(waiting)
                try:
                    # wait_for would forget, before Python 3.12, that a client left when a replica comes just then.
                    async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                        await waiting
                except TimeoutError:
                    raise NoReplicaError(
                        f"no replica became ready within {config.hold_seconds:g} s; try again later",
                        reason="hold_timeout",
                    ) from None
                finally:
                    self._held.remove(waiting)
            return ready
        finally:
            self._metrics.queue_seconds.observe(time.monotonic() - began)

    def request_failed(self, replica: Replica, *, port_closed: bool) -> None:
        """A request to `replica` failed before it was answered."""
        now = time.monotonic()
        if replica.health.request_failed(now, port_closed=port_closed):
            self._metrics.ejections.labels(replica.name).inc()
            log.warning(
                "replica %s is left out for %.1f s: %s",
                replica.name,
                replica.health.ejected_until - now,
                "nothing listens on its port" if port_closed else "it failed several times in a row",
            )
        replica.probe_now.set()
