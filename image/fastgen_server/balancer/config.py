"""How a balancer is configured. Each field's docstring is its `--help`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fastgen.errors import UsageError

MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class BalancerConfig:
    """One balancer in front of replicas of one model."""

    host: str = "127.0.0.1"
    """Address to listen on. 0.0.0.0 is every interface: whoever reaches it may use the model."""

    port: int = 8080
    """HTTP port, which also serves /metrics, /healthz and /readyz of the balancer itself; 0 takes a free one."""

    grpc_port: int = 8081
    """gRPC port; 0 takes a free one."""

    address_file: str | None = None
    """Write {"http", "grpc", "pid"} here as JSON once listening."""

    replicas_file: str | None = None
    """JSON list of {"http": "host:port", "grpc": "host:port"}, followed as it changes."""

    pods_selector: str | None = None
    """Follow the pods with these labels instead, such as fastgen.dev/deployment=llama."""

    namespace: str | None = None
    """Where those pods are. none takes the balancer's own namespace."""

    policy: Literal["LeastWork", "RoundRobin"] = "LeastWork"
    """Who gets a request: LeastWork (fewest outstanding tokens) or RoundRobin."""

    balancers: int = 1
    """How many balancers share these replicas. With more than one, LeastWork compares two random replicas,
    so that balancers with the same view do not all choose the same one."""

    retries: int = 2
    """How often a request that has not begun to be answered is tried again elsewhere."""

    hold_requests: int = 256
    """Requests that may wait while no replica is ready; one more is refused with 503 and Retry-After."""

    hold_seconds: float = 60.0
    """How long a request waits for a replica before 503 and Retry-After."""

    max_in_flight: int = 4096
    """Requests in the balancer at once, held ones included; one more is refused with 503 and Retry-After."""

    max_body_bytes: int = 8 * MIB
    """Longest request body; kept until the answer begins, so that the request can be tried again."""

    max_buffered_bytes: int = 512 * MIB
    """All request bodies kept at once; beyond it requests are refused with 503 and Retry-After."""

    max_header_bytes: int = 32768
    """Longest header field or request line, and all gRPC metadata together."""

    connect_seconds: float = 2.0
    """How long connecting to a replica may take before another is tried."""

    health_interval_seconds: float = 1.0
    """How often each replica's /readyz is asked."""

    health_timeout_seconds: float = 2.0
    """How long /readyz may take before it counts as failed."""

    eject_failures: int = 3
    """Failures in a row after which a replica is left out. (One whose port is closed is left out at once.)"""

    eject_seconds: float = 1.0
    """How long a replica is left out the first time; doubles each time it happens again soon after."""

    eject_max_seconds: float = 30.0
    """The longest a replica is left out before it is asked again."""

    linger_seconds: float = 0.0
    """After SIGTERM, how long new connections are still served, so that whoever routes to this balancer can
    notice that it is not ready any more."""

    grace_seconds: float = 30.0
    """After that, how long requests in flight may take to finish."""

    def __post_init__(self) -> None:
        for name, low in _LEAST.items():
            if getattr(self, name) < low:
                raise UsageError(f"{name}={getattr(self, name)} is too small; the least is {low}")
        for name in ("port", "grpc_port"):
            if not 0 <= getattr(self, name) <= 65535:
                raise UsageError(f"{name}={getattr(self, name)} is no port; ports are 0 to 65535")
        if self.replicas_file is not None and self.pods_selector is not None:
            raise UsageError("replicas_file and pods_selector were both given; choose one source of replicas")


_LEAST: dict[str, float] = {
    "balancers": 1,
    "retries": 0,
    "hold_requests": 0,
    "hold_seconds": 0,
    "max_in_flight": 1,
    "max_body_bytes": 1024,
    "max_buffered_bytes": 1024,
    "max_header_bytes": 1024,
    "connect_seconds": 0.01,
    "health_interval_seconds": 0.01,
    "health_timeout_seconds": 0.01,
    "eject_failures": 1,
    "eject_seconds": 0.01,
    "eject_max_seconds": 0.01,
    "linger_seconds": 0,
    "grace_seconds": 0,
}
