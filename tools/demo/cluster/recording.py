"""What was seen while the load came and went, as rows; written to a file that the plot is drawn from."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from fastgen_bench.report import write_json

KIND = "scaling"


@dataclass(frozen=True)
class Row:
    """One look. None is "not known"."""

    seconds: float
    """Since the recording began."""
    desired: int | None = None
    """spec.replicas, from the API server."""
    ready: int | None = None
    """status.readyReplicas, from the API server."""
    offered_per_second: float | None = None
    """Requests that arrived at the balancer, from Prometheus."""
    effective_per_second: float | None = None
    """Requests that kept their promise, counted by the replicas, from Prometheus."""
    attainment: float | None = None
    """Share of the requests that kept their promise, of late, from Prometheus."""
    attainment_seen: float | None = None
    """The same as the autoscaler saw it, over its longer window: one of the operator's metrics, as are the next two."""
    demand_tokens_per_second: float | None = None
    """What arrives and waits."""
    supply_tokens_per_second: float | None = None
    """What all replicas that are asked for can do in time."""
    reason: str = ""
    """Of the condition AutoscalingActive: what the autoscaler says now."""


@dataclass(frozen=True, order=True)
class SeenDecision:
    """One of status.autoscaling.decisions."""

    seconds: float
    """When it was made, since the recording began; the API server's times are whole seconds."""
    previous: int
    replicas: int
    reason: str
    message: str

    @property
    def text(self) -> str:
        return f"{self.previous} → {self.replicas} {self.reason}"


@dataclass(frozen=True)
class Recording:
    """Everything a plot needs."""

    target: float
    """The share of requests that should keep the promise: spec.sla.target."""
    rows: tuple[Row, ...]
    decisions: tuple[SeenDecision, ...]
    about: Mapping[str, Any] = field(default_factory=dict)
    """Where, when and from which commit (fastgen_bench.machine.provenance)."""

    def save(self, path: Path) -> Path:
        value = {"kind": KIND, **dataclasses.asdict(self)}
        return write_json(path, value)

    @classmethod
    def load(cls, path: Path) -> Recording:
        """Raises ValueError where the file is not one that `save` wrote."""
        value = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(value, dict) or value.get("kind") != KIND:
            raise ValueError(f"{path} is no recording of a scaling run; `make demo` writes demo-output/scaling.json")
        return cls(
            value["target"],
            tuple(Row(**row) for row in value["rows"]),
            tuple(SeenDecision(**decision) for decision in value["decisions"]),
            value["about"],
        )


def decisions_of(deployment: Mapping[str, Any], began: datetime) -> set[SeenDecision]:
    """The decisions that status lists. It keeps only the last few: gather them as they pass."""
    listed: Iterable[Mapping[str, Any]] = _autoscaling(deployment).get("decisions", ())
    return {
        SeenDecision(
            (datetime.fromisoformat(one["time"]) - began).total_seconds(),
            one["previousReplicas"],
            one["replicas"],
            one["reason"],
            one["message"],
        )
        for one in listed
    }


def row_of(seconds: float, deployment: Mapping[str, Any], numbers: Mapping[str, float | None]) -> Row:
    """A row from the FastGenDeployment as the API server has it and the numbers that Prometheus gave."""
    spec, status = deployment.get("spec", {}), deployment.get("status", {})
    return Row(
        seconds,
        desired=spec.get("replicas"),
        ready=status.get("readyReplicas"),
        reason=condition(deployment, "AutoscalingActive").get("reason", ""),
        **numbers,
    )


def condition(deployment: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """One condition of status; empty where there is none."""
    conditions: Iterable[Mapping[str, Any]] = deployment.get("status", {}).get("conditions", ())
    return next((one for one in conditions if one["type"] == kind), {})


def capacity(deployment: Mapping[str, Any]) -> int | None:
    """Tokens per second that one replica does in time, as the autoscaler has it."""
    found: int | None = _autoscaling(deployment).get("capacityTokensPerSecond")
    return found


def _autoscaling(deployment: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = deployment.get("status", {}).get("autoscaling") or {}
    return found
