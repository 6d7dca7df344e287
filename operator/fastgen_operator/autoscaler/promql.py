"""The questions to Prometheus, as text: one number each."""

from __future__ import annotations

from typing import NamedTuple

from fastgen.contract import FastGenDeployment, labels
from fastgen.contract import balancer_metrics as balancer
from fastgen.contract import metrics as replica
from fastgen.contract.metrics import GENERATION_RATE
from fastgen_operator.autoscaler.signals import SIGNAL, STALE_SECONDS


class Windows(NamedTuple):
    """Over how long rates are taken, as PromQL writes it."""

    load: str
    """Of offered and served tokens: short, for load comes suddenly."""
    attainment: str
    """Of requests and effective requests: long enough for a share."""
    calibration: str
    """Of what changes slowly: how long requests are, how well they are estimated."""

    @classmethod
    def of(cls, window_seconds: int) -> Windows:
        """Half, the whole, and two and a half times `spec.autoscaling.windowSeconds`."""
        return cls(f"{window_seconds // 2}s", f"{window_seconds}s", f"{window_seconds * 5 // 2}s")


def question(deployment: FastGenDeployment, window_seconds: int) -> str:
    """All of `queries` as one query: a look is one request, and all its numbers are of one moment.

    Each series of the answer carries the name of its field in the label SIGNAL.
    """
    asked = queries(deployment, window_seconds)
    return "\nor ".join(f'label_replace({query}, "{SIGNAL}", "{name}", "", "")' for name, query in asked.items())


def queries(deployment: FastGenDeployment, window_seconds: int) -> dict[str, str]:
    """A PromQL query for each field of Signals that Prometheus knows. Every one answers with one number or nothing."""
    windows = Windows.of(window_seconds)
    own = {labels.SERIES_NAMESPACE: deployment.metadata.namespace or "", labels.SERIES_DEPLOYMENT: deployment.name}
    rate = {GENERATION_RATE: f"{deployment.spec.sla.generation_tokens_per_second:g}"}

    def summed(function: str, name: str, window: str, **more: str) -> str:
        return f"sum({function}({name}{_selector(own | more)}[{window}]))"

    def plain(name: str) -> str:
        return name + _selector(own)

    def fresh(name: str) -> str:
        return f"count(time() - timestamp({plain(name)}) < {STALE_SECONDS:g})"

    offered = summed("rate", balancer.BALANCER_OFFERED_TOKENS, windows.calibration)
    return {
        "offered_tokens_per_second": summed("rate", balancer.BALANCER_OFFERED_TOKENS, windows.load),
        "calibration": _share(summed("rate", replica.OFFERED_TOKENS.sample, windows.calibration), offered),
        "tokens_per_request": _share(offered, summed("rate", balancer.BALANCER_OFFERED_REQUESTS, windows.calibration)),
        "held_requests": f"sum({plain(balancer.BALANCER_HELD_REQUESTS)})",
        "waiting_requests": f"sum({plain(replica.NUM_REQUESTS_WAITING.sample)})",
        "waiting_tokens": f"sum({plain(replica.WAITING_TOKENS.sample)})",
        "served_tokens_per_second": summed("rate", replica.SERVED_TOKENS.sample, windows.load),
        "requests": summed("increase", replica.REQUESTS.sample, windows.attainment),
        "effective_requests": summed("increase", replica.EFFECTIVE_REQUESTS.sample, windows.attainment, **rate),
        "recent_requests": summed("increase", replica.REQUESTS.sample, windows.load),
        "recent_effective_requests": summed("increase", replica.EFFECTIVE_REQUESTS.sample, windows.load, **rate),
        "measured_tokens_per_second": f"avg({plain(replica.CAPACITY.sample)} > 0)",
        "kv_usage": f"max({plain(replica.KV_CACHE_USAGE.sample)})",
        "balancers_seen": fresh(balancer.BALANCER_HELD_REQUESTS),
        "replicas_seen": fresh(replica.READY.sample),
        "age_seconds": f"time() - max(timestamp({plain(balancer.BALANCER_HELD_REQUESTS)}))",
    }


def _share(part: str, whole: str) -> str:
    """A quotient; nothing where there is nothing to divide by. (The first request that a balancer ever counts is in
    its first sample, and no increase.)"""
    return f"{part} / ({whole} > 0)"


def _selector(pairs: dict[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_quoted(value)}"' for name, value in pairs.items()) + "}"


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
