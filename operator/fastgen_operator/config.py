"""How an operator is configured. Each field's docstring is its `--help`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import fastgen
from fastgen.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class OperatorConfig:
    """One operator."""

    namespace: str = ""
    """Look after this namespace only, with no rights outside of it; give it again for each other one.
    Empty: all namespaces."""

    serving_image: str = f"fastgen/serving:{fastgen.__version__}"
    """Image of the replicas, unless a manifest names another."""

    light_image: str = f"fastgen/operator:{fastgen.__version__}"
    """Image of the balancers: this operator's own, without PyTorch."""

    host: str = "127.0.0.1"
    """Address to listen on."""

    port: int = 8080
    """HTTP port of /healthz, /readyz and /metrics; 0 takes a free one."""

    lease_name: str = "fastgen-operator"
    """The Lease whose holder acts; operators that look after the same namespaces must share it."""

    lease_namespace: str | None = None
    """Where the Lease is. none takes the operator's own namespace."""

    resync_seconds: float = 300.0
    """How often everything is compared anew, in case a change went unnoticed."""

    scaling_interval_seconds: float = 10.0
    """How often the autoscaler looks at each deployment; 60 at most, or what held between two looks is not known."""

    workers: int = 8
    """Deployments that are worked on at the same time."""

    log_format: Literal["json", "text"] = "json"
    """Log lines for machines or for people."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least that is logged."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise UsageError(f"port={self.port} is no port; ports are 0 to 65535")
        for name, low in _LEAST.items():
            if getattr(self, name) < low:
                raise UsageError(f"{name}={getattr(self, name)} is too small; the least is {low}")
        if self.scaling_interval_seconds > MOST_SCALING_SECONDS:
            given = f"scaling_interval_seconds={self.scaling_interval_seconds}"
            raise UsageError(f"{given} is too long; the most is {MOST_SCALING_SECONDS}")
        for name in ("serving_image", "light_image", "lease_name"):
            if not getattr(self, name):
                raise UsageError(f"{name} is empty; leave it out, or name one")

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Those to look after; empty means all."""
        return tuple(dict.fromkeys(name.strip() for name in self.namespace.split(",") if name.strip()))


MOST_SCALING_SECONDS = 60.0
_LEAST: dict[str, float] = {"resync_seconds": 1.0, "scaling_interval_seconds": 0.5, "workers": 1}
