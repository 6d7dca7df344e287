"""What the autoscaler knows at one moment, and how honest that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from fastgen_operator.autoscaler.prometheus_json import read_numbers

SIGNAL = "signal"
"""The label by which a series of the answer says which field of Signals it is."""
STALE_SECONDS = 60.0
"""Older than this is no knowledge of now."""


class Workload(NamedTuple):
    """What Kubernetes says."""

    replicas: int
    """spec.replicas of the FastGenDeployment."""
    ready: int
    """Replicas that answer requests."""
    late: int
    """Replicas that have not become ready within `PENDING_SECONDS`, for want of a node or for a failure."""
    balancers: int
    """Balancers that are ready."""


PENDING_SECONDS = 900.0
"""How long a replica may take to become ready before it is not counted on any more."""


@dataclass(frozen=True)
class Signals:
    """One look. None is "not known", which is never the same as 0."""

    workload: Workload
    offered_tokens_per_second: float | None = None
    """Tokens of the requests that arrived at the balancers, as estimated there."""
    calibration: float | None = None
    """Tokens the replicas counted for the same requests, divided by that estimate."""
    tokens_per_request: float | None = None
    """As estimated by the balancers."""
    held_requests: float | None = None
    """Requests that balancers hold because no replica is ready."""
    waiting_requests: float | None = None
    """Sequences that wait in the replicas' queues."""
    waiting_tokens: float | None = None
    """Tokens that the replicas have yet to compute, of what waits and of what runs."""
    served_tokens_per_second: float | None = None
    """Tokens that all replicas did."""
    requests: float | None = None
    """Requests that ended, of late."""
    effective_requests: float | None = None
    """Those of them that kept the promise."""
    recent_requests: float | None = None
    """Requests that ended in the later half of that time."""
    recent_effective_requests: float | None = None
    """Those of them that kept the promise."""
    measured_tokens_per_second: float | None = None
    """Capacity of one replica as measured when it started, on average; None where the budget was set by hand."""
    kv_usage: float | None = None
    """Share of the KV blocks in use in the fullest replica."""
    balancers_seen: int = 0
    """Balancers with fresh samples."""
    replicas_seen: int = 0
    """Ready replicas with fresh samples."""
    age_seconds: float | None = None
    """Age of the newest sample of a balancer."""
    problems: tuple[str, ...] = ()
    """What was wrong with the answer of Prometheus."""
    failure: str | None = None
    """Why Prometheus did not answer at all, and what to do."""

    @property
    def attainment(self) -> float | None:
        """Share of the requests that kept the promise; None without requests."""
        if self.requests is None or self.effective_requests is None or self.requests <= 0:
            return None
        return min(1.0, self.effective_requests / self.requests)

    @property
    def recent_attainment(self) -> float | None:
        """The same of the later half; None where no request ended in it."""
        if self.recent_requests is None or self.recent_effective_requests is None or self.recent_requests <= 0:
            return None
        return min(1.0, self.recent_effective_requests / self.recent_requests)

    @property
    def whole(self) -> bool:
        """Everything is known and nothing is missing: only then may replicas go."""
        replicas_known = self.workload.ready == 0 or (
            self.replicas_seen >= self.workload.ready
            and None not in (self.served_tokens_per_second, self.requests, self.effective_requests, self.kv_usage)
            and self.waiting_requests is not None
        )
        return (
            self.blindness is None
            and replicas_known
            and self.balancers_seen >= self.workload.balancers
            and not self.problems
        )

    @property
    def blindness(self) -> tuple[str, str] | None:
        """Why no decision can be made: a reason and what to do. None where one can."""
        if self.failure is not None:
            return "PrometheusUnavailable", self.failure
        because = f" ({'; '.join(self.problems)})" if self.problems else ""
        if self.age_seconds is None or self.offered_tokens_per_second is None or self.held_requests is None:
            return "MetricsMissing", (
                f"Prometheus has no load of this deployment's balancers{because}; check "
                "spec.autoscaling.prometheus.url, and that it scrapes the pods with the labels that "
                "docs/autoscaling.md names"
            )
        if self.age_seconds > STALE_SECONDS:
            return "MetricsStale", (
                f"the newest sample of a balancer is older than {STALE_SECONDS:.0f} s{because}; check that Prometheus "
                "still scrapes, and its clock"
            )
        if self.workload.ready > 0 and self.replicas_seen == 0:
            return "MetricsMissing", (
                f"Prometheus has no fresh sample of any of {self.workload.ready} ready replicas{because}; check that "
                "it scrapes their pods"
            )
        return None


def read_signals(answer: Any, workload: Workload, now_unix_seconds: float) -> Signals:
    """Signals from the answer of Prometheus' HTTP API (`/api/v1/query`) to `promql.question`.

    The answer may be anything: the decoded JSON, or what a broken proxy sent. What cannot be understood is not known,
    and said in `problems`; it is never taken for 0.
    """
    found = read_numbers(answer, SIGNAL, now_unix_seconds, STALE_SECONDS)
    values: dict[str, Any] = {name: found.values.get(name) for name in _NUMBERS}
    return Signals(
        workload,
        balancers_seen=int(found.values.get("balancers_seen", 0.0)),
        replicas_seen=int(found.values.get("replicas_seen", 0.0)),
        problems=found.problems,
        **values,
    )


_NUMBERS = (
    "offered_tokens_per_second",
    "calibration",
    "tokens_per_request",
    "held_requests",
    "waiting_requests",
    "waiting_tokens",
    "served_tokens_per_second",
    "requests",
    "effective_requests",
    "recent_requests",
    "recent_effective_requests",
    "measured_tokens_per_second",
    "kv_usage",
    "age_seconds",
)
