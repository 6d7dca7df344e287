"""One replica as the balancer sees it: where it is, how it is, and the work it has been given."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from fastgen_server.balancer.health import Health, ReplicaState
from fastgen_server.balancer.policies import Load
from fastgen_server.balancer.work import Work


class ReplicaAddress(NamedTuple):
    """Where a replica listens: host:port each. `grpc` is None where it has none."""

    http: str
    grpc: str | None = None
    name: str = ""
    """What people call it (a pod's name); the HTTP address where nothing better is known."""


class Replica:
    """State of one replica. `own_tokens` is what this balancer sent it and has not seen answered."""

    def __init__(self, address: ReplicaAddress, health: Health) -> None:
        self.address = address
        self.health = health
        self.draining = False
        self.in_flight = 0
        self.own_tokens = 0.0
        self.probe_now = asyncio.Event()
        self._others_tokens = 0.0
        self._others_until = 0.0

    @property
    def name(self) -> str:
        return self.address.name or self.address.http

    @property
    def state(self) -> ReplicaState:
        return ReplicaState.DRAINING if self.draining else self.health.state

    def report(self, outstanding_tokens: float, now: float, *, fresh_seconds: float) -> None:
        """The replica said how much work it has from everybody; what is not ours is the others'."""
        self._others_tokens = max(0.0, outstanding_tokens - self.own_tokens)
        self._others_until = now + fresh_seconds

    def load(self, now: float) -> Load:
        """What a policy compares. A report that is stale counts as nothing rather than for ever."""
        others = self._others_tokens if now < self._others_until else 0.0
        return Load(self.own_tokens + others, self.in_flight)


class Lease:
    """One request's claim on one replica: counted from when it is chosen until `close`."""

    def __init__(self, replica: Replica, work: Work, on_close: Callable[[Replica], None]) -> None:
        self.replica = replica
        self._prompt_tokens = float(work.prompt_tokens)
        self._generation_tokens = float(work.generation_tokens)
        self._on_close = on_close
        self._closed = False
        replica.in_flight += 1
        replica.own_tokens += work.total

    def flowed(self, pieces: int) -> None:
        """`pieces` more pieces of a streamed answer passed: the prompt is done, and about as many tokens."""
        if self._closed:
            return
        done = self._prompt_tokens + min(float(pieces), self._generation_tokens)
        self._prompt_tokens = 0.0
        self._generation_tokens -= min(float(pieces), self._generation_tokens)
        self.replica.own_tokens -= done

    def close(self) -> None:
        """The request is over, whichever way. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self.replica.in_flight -= 1
        self.replica.own_tokens -= self._prompt_tokens + self._generation_tokens
        self._on_close(self.replica)
