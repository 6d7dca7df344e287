"""What the balancer counts. Its own registry: several balancers can live in one process (tests do)."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from fastgen.contract import balancer_metrics as names
from fastgen_server.balancer.health import ReplicaState
from fastgen_server.balancer.work import Work

if TYPE_CHECKING:
    from fastgen_server.balancer.pool import Pool

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300)


class BalancerMetrics:
    """Counters and histograms, told as things happen, and gauges, read from the pool when asked."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.requests = Counter(
            names.BALANCER_REQUESTS,
            "Requests ended, by what the client was told: an HTTP status or the name of a gRPC status.",
            ["protocol", "code"],
            registry=r,
        )
        self.offered_requests = Counter(
            names.BALANCER_OFFERED_REQUESTS,
            "Requests that arrived, those held, refused and failed included.",
            ["protocol"],
            registry=r,
        )
        self.offered_tokens = Counter(
            names.BALANCER_OFFERED_TOKENS,
            "Tokens of the requests that arrived, estimated: prompt from the body's length, generation as asked for.",
            ["kind"],
            registry=r,
        )
        self.retries = Counter(
            names.BALANCER_RETRIES,
            "Requests tried again before the first byte of an answer, by why.",
            ["reason"],
            registry=r,
        )
        self.cut_streams = Counter(
            names.BALANCER_CUT_STREAMS,
            "Answers that ended with an error because the replica went away in the middle.",
            ["protocol"],
            registry=r,
        )
        self.ejections = Counter(names.BALANCER_EJECTIONS, "Times a replica was left out.", ["replica"], registry=r)
        self.queue_seconds = Histogram(
            names.BALANCER_QUEUE_SECONDS,
            "How long held requests waited for a replica.",
            buckets=_SECONDS,
            registry=r,
        )
        self.upstream_seconds = Histogram(
            names.BALANCER_UPSTREAM_SECONDS,
            "From sending a request to a replica to the first byte of its answer.",
            ["protocol"],
            buckets=_SECONDS,
            registry=r,
        )
        self._held = Gauge(names.BALANCER_HELD_REQUESTS, "Requests waiting for a ready replica.", registry=r)
        self._in_flight = Gauge(
            names.BALANCER_IN_FLIGHT, "Requests at each replica from this balancer.", ["replica"], registry=r
        )
        self._outstanding = Gauge(
            names.BALANCER_OUTSTANDING_TOKENS,
            "Tokens sent to each replica and not yet answered, as policies see them.",
            ["replica"],
            registry=r,
        )
        self._replicas = Gauge(names.BALANCER_REPLICAS, "Replicas by state.", ["state"], registry=r)
        for kind in ("prompt", "generation"):
            self.offered_tokens.labels(kind)

    def offered(self, protocol: Literal["http", "grpc"], work: Work) -> None:
        """A request arrived, whatever becomes of it."""
        self.offered_requests.labels(protocol).inc()
        if work.total:
            self.offered_tokens.labels("prompt").inc(work.prompt_tokens)
            self.offered_tokens.labels("generation").inc(work.generation_tokens)

    def render(self, pool: Pool) -> bytes:
        """The text /metrics answers with."""
        self._held.set(pool.num_held)
        by_state = dict.fromkeys(ReplicaState, 0)
        self._in_flight.clear()
        self._outstanding.clear()
        now = time.monotonic()
        for replica in pool.replicas:
            by_state[replica.state] += 1
            # Added, not set: a replica that was restarted may share its name with the one that drains.
            self._in_flight.labels(replica.name).inc(replica.in_flight)
            self._outstanding.labels(replica.name).inc(replica.load(now).outstanding_tokens)
        for state, count in by_state.items():
            self._replicas.labels(state.value).set(count)
        return generate_latest(self.registry)

    def forget(self, replica: str) -> None:
        """A replica is gone: its series end, or pods that come and go would pile up."""
        with contextlib.suppress(KeyError):
            self.ejections.remove(replica)
