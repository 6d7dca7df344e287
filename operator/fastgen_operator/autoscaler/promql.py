"""The questions to Prometheus, as text: one number each."""

from __future__ import annotations

from fastgen.contract import FastGenDeployment, labels
from fastgen.contract import balancer_metrics as balancer
from fastgen.contract import metrics as replica
from fastgen.contract.metrics import GENERATION_RATE
from fastgen_operator.autoscaler.signals import STALE_SECONDS

LOAD_WINDOW = "1m"
"""Of offered and served tokens: short, for load comes suddenly."""
ATTAINMENT_WINDOW = "2m"
"""Of requests and effective requests: long enough for a share."""
CALIBRATION_WINDOW = "5m"
"""Of what changes slowly: how long requests are, how well they are estimated."""


def queries(deployment: FastGenDeployment) -> dict[str, str]:
    """A PromQL query for each field of Signals that Prometheus knows. Every one answers with one number or nothing."""
    own = {labels.SERIES_NAMESPACE: deployment.metadata.namespace or "", labels.SERIES_DEPLOYMENT: deployment.name}
    rate = {GENERATION_RATE: f"{deployment.spec.sla.generation_tokens_per_second:g}"}

    def summed(function: str, name: str, window: str, **more: str) -> str:
        return f"sum({function}({name}{_selector(own | more)}[{window}]))"

    def plain(name: str) -> str:
        return name + _selector(own)

    def fresh(name: str) -> str:
        return f"count(time() - timestamp({plain(name)}) < {STALE_SECONDS:g})"

    offered = summed("rate", balancer.BALANCER_OFFERED_TOKENS, CALIBRATION_WINDOW)
    return {
        "offered_tokens_per_second": summed("rate", balancer.BALANCER_OFFERED_TOKENS, LOAD_WINDOW),
        "calibration": f"{summed('rate', replica.OFFERED_TOKENS.sample, CALIBRATION_WINDOW)} / {offered}",
        "tokens_per_request": f"{offered} / {summed('rate', balancer.BALANCER_OFFERED_REQUESTS, CALIBRATION_WINDOW)}",
        "held_requests": f"sum({plain(balancer.BALANCER_HELD_REQUESTS)})",
        "waiting_requests": f"sum({plain(replica.NUM_REQUESTS_WAITING.sample)})",
        "served_tokens_per_second": summed("rate", replica.SERVED_TOKENS.sample, LOAD_WINDOW),
        "requests": summed("increase", replica.REQUESTS.sample, ATTAINMENT_WINDOW),
        "effective_requests": summed("increase", replica.EFFECTIVE_REQUESTS.sample, ATTAINMENT_WINDOW, **rate),
        "measured_tokens_per_second": f"avg({plain(replica.CAPACITY.sample)} > 0)",
        "kv_usage": f"max({plain(replica.KV_CACHE_USAGE.sample)})",
        "balancers_seen": fresh(balancer.BALANCER_HELD_REQUESTS),
        "replicas_seen": fresh(replica.READY.sample),
        "age_seconds": f"time() - max(timestamp({plain(balancer.BALANCER_HELD_REQUESTS)}))",
    }


def _selector(pairs: dict[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_quoted(value)}"' for name, value in pairs.items()) + "}"


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
