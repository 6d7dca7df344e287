"""Every series FastGen's pods publish, with its labels: what queries may ask for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

from fastgen.contract import labels
from fastgen.contract.metrics import MODEL_NAME, REPLICA_METRICS
from fastgen_operator.metrics import OperatorMetrics
from fastgen_operator.scaling.metrics import ScalingMetrics
from fastgen_server.balancer.metrics import BalancerMetrics

ADDED_TO_ALL = {"job", "instance", labels.SERIES_NAMESPACE, labels.SERIES_POD}
"""Labels that Prometheus puts on what it scrapes (examples/prometheus.yaml)."""
ADDED_TO_MODELS = {*ADDED_TO_ALL, labels.SERIES_DEPLOYMENT, "component"}
WINDOW_VARIABLES = {"$__rate_interval": "5m", "$__interval": "1m"}


def series() -> dict[str, frozenset[str]]:
    """The name of every series, and its labels."""
    found: dict[str, frozenset[str]] = {}
    for metric in REPLICA_METRICS:
        own = frozenset({*metric.labels, MODEL_NAME, *ADDED_TO_MODELS})
        found.update(_series(metric.sample, metric.kind, own))
    for collector in vars(BalancerMetrics()).values():
        if isinstance(collector, MetricWrapperBase):
            found.update(_of_client(collector, ADDED_TO_MODELS))
    registry = CollectorRegistry()
    OperatorMetrics(registry)
    ScalingMetrics(registry)
    for collector in _collectors(registry):
        found.update(_of_client(collector, ADDED_TO_ALL))
    return found


def _collectors(registry: CollectorRegistry) -> Iterator[MetricWrapperBase]:
    collectors: Iterable[Collector] = list(registry._collector_to_names)
    for collector in collectors:
        assert isinstance(collector, MetricWrapperBase), f"{collector} has no label names to check"
        yield collector


def _of_client(collector: MetricWrapperBase, added: set[str]) -> dict[str, frozenset[str]]:
    (described,) = collector.describe()
    name = f"{described.name}_total" if described.type == "counter" else described.name
    return _series(name, described.type, frozenset({*collector._labelnames, *added}))


def _series(name: str, kind: str, own: frozenset[str]) -> dict[str, frozenset[str]]:
    if kind != "histogram":
        return {name: own}
    return {f"{name}_bucket": own | {"le"}, f"{name}_sum": own, f"{name}_count": own}


class Asked(NamedTuple):
    """One selector of a query."""

    name: str
    labels: frozenset[str]


_SELECTOR = re.compile(r"\b([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(?:\{([^}]*)\}|(?=\[)|(?![\w(=!~]))")
_WORDS = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
_NOT_NAMES = frozenset({"and", "or", "unless", "bool", "offset", "by", "without", "on", "ignoring", "inf", "nan"})


def asked(query: str) -> tuple[list[Asked], set[str]]:
    """The selectors of a PromQL query, and the labels that it groups by. Enough of the grammar for our own queries."""
    for variable, value in WINDOW_VARIABLES.items():
        query = query.replace(variable, value)
    grouped = {word.strip() for words in _WORDS.findall(query) for word in words.split(",") if word.strip()}
    bare = _WORDS.sub(" ", _TEXT.sub('""', query))
    bare = re.sub(r"\[[^\]]*\]", "[]", bare)
    found = []
    for match in _SELECTOR.finditer(bare):
        name, inside = match[1], match[2] or ""
        if name.lower() not in _NOT_NAMES and not re.match(r"\s*\(", bare[match.end() :]):
            found.append(Asked(name, frozenset(re.findall(r"(\w+)\s*[=!]", inside))))
    return found, grouped


def problems(query: str, known: dict[str, frozenset[str]]) -> list[str]:
    """What a query asks for that nobody publishes."""
    selectors, grouped = asked(query)
    if not selectors:
        return ["asks for no series"]
    found = []
    for selector in selectors:
        if selector.name not in known:
            found.append(f"nobody publishes {selector.name}")
        elif missing := (selector.labels | grouped) - known[selector.name]:
            found.append(f"{selector.name} has no label {', '.join(sorted(missing))}")
    return found
