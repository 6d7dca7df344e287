"""What the operator counts about itself."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class OperatorMetrics:
    """Counters and histograms, told as things happen."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.reconciles = Counter(
            "fastgen_operator_reconciles",
            "Looks at a deployment, by what came of them: ok, problem (a condition says which), error (tried again), "
            "gone.",
            ["result"],
            registry=registry,
        )
        self.reconcile_seconds = Histogram(
            "fastgen_operator_reconcile_seconds", "How long a look took.", buckets=_SECONDS, registry=registry
        )
        self.errors = Counter(
            "fastgen_operator_errors",
            "Things that went wrong and are tried again, by where: reconcile, watch, event, lease, kopf.",
            ["reason"],
            registry=registry,
        )
        self.api_requests = Counter(
            "fastgen_operator_api_requests",
            "Calls to the API server, by verb, resource and HTTP status, or the name of the failure.",
            ["verb", "resource", "code"],
            registry=registry,
        )
        self.changes = Counter(
            "fastgen_operator_changes",
            "Objects written, by kind and why: missing, new (nothing was remembered, as after a restart), changed, "
            "drifted (somebody else changed it), adopted, pruned, status.",
            ["kind", "why"],
            registry=registry,
        )
        self.queue_depth = Gauge(
            "fastgen_operator_queue_depth", "Deployments that wait to be looked at.", registry=registry
        )
        self.deployments = Gauge(
            "fastgen_operator_deployments", "Deployments that are looked after.", registry=registry
        )
        self.leader = Gauge(
            "fastgen_operator_leader", "1 while this process holds the lease and acts; 0 on standby.", registry=registry
        )

    def count_call(self, verb: str, resource: str, code: str) -> None:
        self.api_requests.labels(verb, resource, code).inc()
