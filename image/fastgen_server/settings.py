"""How a server is configured. Each field's docstring is also its `--help`."""

from __future__ import annotations

from dataclasses import dataclass

from fastgen.contract import ports
from fastgen.core.sla import Sla
from fastgen.errors import UsageError

MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """One server: HTTP and gRPC in front of one engine."""

    host: str = "127.0.0.1"
    """Address to listen on. 0.0.0.0 is every interface: whoever reaches it may use the model."""

    port: int = ports.REPLICA_HTTP
    """HTTP port: the OpenAI interface, /healthz, /readyz and /metrics. 0 takes a free one."""

    grpc_port: int = ports.REPLICA_GRPC
    """gRPC port. 0 takes a free one."""

    model_name: str | None = None
    """The name clients ask for. none takes the last part of the model's path or hub id."""

    address_file: str | None = None
    """Write {"http", "grpc", "pid"} here as JSON once ready."""

    grace_seconds: float = 30.0
    """After SIGTERM, how long running requests may take to finish. A second signal ends them at once."""

    linger_seconds: float = 0.0
    """After SIGTERM, how long new requests are still taken, so that whoever routes to this server can notice
    that it is not ready any more; after it they are refused with 503 and Retry-After."""

    sla_prompt_tokens_per_second: float = 512.0
    """The promise receipts are judged by: the first token within prompt_tokens divided by this."""

    sla_generation_tokens_per_second: float = 4.0
    """The promise receipts are judged by: later tokens at least this fast, on the moving average of gaps."""

    receipts: bool = True
    """Put usage.sla into every response: time to first token, worst gap, effective or not, and why not."""

    max_body_bytes: int = 8 * MIB
    """Longest request body."""

    max_choices: int = 128
    """Most answers to one request: prompts times n."""

    log_requests: bool = True
    """One line in the log for each request: sizes and times, never contents."""

    def __post_init__(self) -> None:
        for name in ("port", "grpc_port"):
            if not 0 <= getattr(self, name) <= 65535:
                raise UsageError(f"{name}={getattr(self, name)} is no port; ports are 0 to 65535")
        if self.port == self.grpc_port != 0:
            raise UsageError(f"port and grpc_port are both {self.port}; HTTP and gRPC need one each")
        for name, low in _LEAST.items():
            if not getattr(self, name) >= low:
                raise UsageError(f"{name}={getattr(self, name)} is too small; the least is {low}")
        if self.model_name == "":
            raise UsageError("model_name is empty; give a name or leave it out")
        _ = self.sla

    @property
    def sla(self) -> Sla:
        return Sla(self.sla_prompt_tokens_per_second, self.sla_generation_tokens_per_second)

    def served_name(self, model: str) -> str:
        """The name this server's model goes by, where `model` is its path or hub id."""
        return self.model_name or model.rstrip("/").rsplit("/", 1)[-1] or model


_LEAST: dict[str, float] = {"grace_seconds": 0, "linger_seconds": 0, "max_body_bytes": 1024, "max_choices": 1}
