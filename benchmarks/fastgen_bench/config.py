"""What a measurement asks for. `Workload` is everything but the pressure; `LoadConfig` adds that: so many
clients, each with one request in flight (closed loop), or so many arrivals a second (open loop)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fastgen.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What is sent, to whom, and for how long."""

    url: str = "http://127.0.0.1:8080"
    """The server's address, with or without /v1 at its end."""

    model: str | None = None
    """The model to ask for. none takes the first of /v1/models."""

    api: Literal["completions", "chat"] = "completions"
    """Which way in: /v1/completions or /v1/chat/completions."""

    stream: bool = True
    """Stream the answers. Without it there are no token times, hence no first-token times and no gaps."""

    requests: int | None = None
    """Measured requests per point of the sweep. none is 64, or as many as fit when --seconds is given."""

    seconds: float | None = None
    """Send for this long per point; what is in flight then is still waited for and counted."""

    warmup: int = 1
    """Requests per client before the clock starts (open loop: in all); not counted."""

    prompt_tokens: int = 512
    """Mean prompt length: normal, sigma = 0.3 x mean, cut at 1 and at longest_prompt_tokens."""

    output_tokens: int = 64
    """Mean of the longest answer allowed: normal, sigma = 0.3 x mean, cut at 1 and at longest_output_tokens."""

    longest_prompt_tokens: int | None = None
    """No prompt is longer. none is twice the mean."""

    longest_output_tokens: int | None = None
    """No answer is longer. none is twice the mean."""

    sigma: float = 0.3
    """Standard deviation of both lengths as a share of their means; 0 makes all requests alike."""

    tokenizer: str | None = None
    """A folder with the model's tokenizer.json, to make prompts of exactly the wanted length. none asks the
    server how long a few prompts are, and sizes the others by that."""

    ignore_eos: bool = False
    """Ask for answers of exactly the wanted length (a field that vLLM, SGLang and FastGen know)."""

    temperature: float = 0.0
    """Sampling temperature; 0 is greedy."""

    seed: int = 42
    """Same seed, same prompts, lengths and arrival times."""

    timeout_seconds: float = 600.0
    """A request that takes longer has failed."""

    api_key_variable: str = "OPENAI_API_KEY"
    """The environment variable that holds the API key, if the server wants one."""

    promise_prompt_tokens_per_second: float = 512.0
    """The promise for the first token: prompt tokens divided by this, in seconds."""

    def __post_init__(self) -> None:
        for name in ("requests", "prompt_tokens", "output_tokens", "longest_prompt_tokens", "longest_output_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name}={value} is too small; the least is 1")
        for name in ("seconds", "timeout_seconds", "promise_prompt_tokens_per_second"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UsageError(f"{name}={value} must be above 0")
        if self.warmup < 0:
            raise UsageError(f"warmup={self.warmup} is negative; 0 sends none")
        if not 0.0 <= self.sigma <= 1.0:
            raise UsageError(f"sigma={self.sigma} is outside 0 to 1")


@dataclass(frozen=True, kw_only=True)
class LoadConfig(Workload):
    """One point of a sweep."""

    clients: int = 1
    """Closed loop: this many requests are in flight at any time."""

    rate: float | None = None
    """Open loop: requests arrive at random (Poisson), this many a second on average, whatever the server does.
    Overrides clients."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.clients < 1:
            raise UsageError(f"clients={self.clients} is too small; the least is 1")
        if self.rate is not None and not self.rate > 0:
            raise UsageError(f"rate={self.rate} must be above 0 requests per second")

    @property
    def is_open_loop(self) -> bool:
        return self.rate is not None

    @property
    def label(self) -> str:
        """How this point is called in tables and plots."""
        if self.rate is not None:
            return f"{self.rate:g}/s"
        return f"{self.clients} client" + ("" if self.clients == 1 else "s")

    @property
    def max_requests(self) -> int | None:
        """Where sending stops; None when only the clock stops it."""
        if self.requests is None and self.seconds is None:
            return DEFAULT_REQUESTS
        return self.requests


DEFAULT_REQUESTS = 64
