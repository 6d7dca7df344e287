"""Looking, every two seconds: at the FastGenDeployment in the API server, and at what Prometheus has scraped."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
from kubernetes.aio import client, config

from demo.cluster.recording import Recording, Row, SeenDecision, decisions_of, row_of
from fastgen.contract import balancer_metrics, labels, metrics

LOOK_SECONDS = 2.0
RATE_WINDOW = "10s"
"""Five scrapes of the demonstration's Prometheus. Shorter than what the operator looks back: what happens now."""
PATIENCE_SECONDS = 5.0
SCALING = "fastgen_operator_scaling_"
"""What the operator publishes of its last look: status has the same, rounded, and is written less often."""


class Place(NamedTuple):
    """Where to look, and for what."""

    kubeconfig: Path
    prometheus_url: str
    namespace: str
    name: str
    generation_rate: float
    """Tokens per second that the manifest promises."""
    target: float
    """The share of requests that should keep the promise."""


def queries(place: Place) -> dict[str, str]:
    """PromQL for each number of a Row that Prometheus knows."""
    own = f'{labels.SERIES_NAMESPACE}="{place.namespace}",{labels.SERIES_DEPLOYMENT}="{place.name}"'
    kept = f'{metrics.EFFECTIVE_REQUESTS.sample}{{{own},{metrics.GENERATION_RATE}="{place.generation_rate:g}"}}'
    offered, ended = balancer_metrics.BALANCER_OFFERED_REQUESTS, metrics.REQUESTS.sample
    seen = f'{labels.SERIES_NAMESPACE}="{place.namespace}",name="{place.name}"'
    return {
        "offered_per_second": f"sum(rate({offered}{{{own}}}[{RATE_WINDOW}]))",
        "effective_per_second": f"sum(rate({kept}[{RATE_WINDOW}]))",
        "attainment": f"sum(increase({kept}[{RATE_WINDOW}])) / sum(increase({ended}{{{own}}}[{RATE_WINDOW}]))",
        "attainment_seen": f"{SCALING}attainment_ratio{{{seen}}}",
        "demand_tokens_per_second": f"{SCALING}demand_tokens_per_second{{{seen}}}",
        "supply_tokens_per_second": f"{SCALING}supply_tokens_per_second{{{seen}}}",
    }


def number(answer: Mapping[str, Any]) -> float | None:
    """The one number of an instant query; None where there is none."""
    result = answer.get("data", {}).get("result", [])
    value = float(result[0]["value"][1]) if result else math.nan
    return value if math.isfinite(value) else None


class Observer:
    """Gathers rows and decisions from `run` on; `deployment` is the object as last seen."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.rows: list[Row] = []
        self.deployment: Mapping[str, Any] = {}
        self._decisions: set[SeenDecision] = set()
        self._began, self._began_monotonic = datetime.now(UTC), time.monotonic()

    @property
    def elapsed_seconds(self) -> float:
        return time.monotonic() - self._began_monotonic

    @property
    def decisions(self) -> tuple[SeenDecision, ...]:
        """Oldest first."""
        return tuple(sorted(self._decisions))

    def recording(self, about: Mapping[str, Any]) -> Recording:
        """Everything seen so far."""
        return Recording(self.place.target, tuple(self.rows), self.decisions, about)

    async def run(self, on_row: Callable[[Row], None]) -> None:
        """Look until cancelled. An API server or Prometheus that is away for a moment leaves a gap in the rows."""
        timeout = aiohttp.ClientTimeout(total=PATIENCE_SECONDS)
        api_client = await config.new_client_from_config(  # type: ignore[no-untyped-call]
            config_file=str(self.place.kubeconfig)
        )
        async with api_client, aiohttp.ClientSession(timeout=timeout) as session:
            api = client.CustomObjectsApi(api_client)
            while True:
                began = time.monotonic()
                row = await self._look(api, session)
                self.rows.append(row)
                on_row(row)
                await asyncio.sleep(max(0.0, LOOK_SECONDS - (time.monotonic() - began)))

    async def _look(self, api: Any, session: aiohttp.ClientSession) -> Row:
        elapsed = self.elapsed_seconds
        deployment, *values = await asyncio.gather(
            self._read_deployment(api),
            *(self._ask(session, query) for query in queries(self.place).values()),
        )
        if deployment is not None:
            self.deployment = deployment
            self._decisions |= {d for d in decisions_of(deployment, self._began) if d.seconds >= 0}
        return row_of(elapsed, deployment or {}, dict(zip(queries(self.place), values, strict=True)))

    async def _read_deployment(self, api: Any) -> Mapping[str, Any] | None:
        try:
            found: Mapping[str, Any] = await api.get_namespaced_custom_object(
                labels.GROUP,
                labels.VERSION,
                self.place.namespace,
                labels.PLURAL,
                self.place.name,
                _request_timeout=PATIENCE_SECONDS,
            )
        except (client.ApiException, aiohttp.ClientError, TimeoutError):
            return None
        return found

    async def _ask(self, session: aiohttp.ClientSession, query: str) -> float | None:
        url = f"{self.place.prometheus_url}/api/v1/query"
        try:
            async with session.get(url, params={"query": query}) as answer:
                return number(await answer.json())
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return None
