"""Every metric FastGen publishes: its name, kind, labels, buckets and meaning, in one place.

Names, units and buckets are vLLM's with our prefix where vLLM has the metric, so that a dashboard made for it
can be pointed here. docs/metrics.md is made from this file (tools/generate_metrics_docs.py). As Prometheus
does, a counter is listed without the `_total` that its sample carries.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

PREFIX: Final = "fastgen_"
MODEL_NAME: Final = "model_name"
"""Label of every metric of a replica: the name the model is served under."""
GENERATION_RATE: Final = "generation_rate"
"""Label: the tokens per second an effective request was held to: 2, 4, 6 and the configured one."""

Kind = Literal["counter", "gauge", "histogram"]


class Metric(NamedTuple):
    """One metric. `labels` come after `model_name`, which all of a replica's have."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def sample(self) -> str:
        """The name a query uses: counters carry `_total` there, histograms `_bucket`, `_sum` and `_count`."""
        return f"{self.name}_total" if self.kind == "counter" else self.name


# fmt: off
FIRST_TOKEN_BUCKETS = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
    160.0, 640.0, 2560.0,
)
GAP_BUCKETS = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
)
REQUEST_BUCKETS = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0,
)
STEP_TOKENS_BUCKETS = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
TOKENS_BUCKETS = (
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000, 200000, 500000, 1000000,
)
FILL_BUCKETS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
# fmt: on

# What waits and runs.
NUM_REQUESTS_RUNNING = Metric("fastgen_num_requests_running", "gauge", "Sequences that run: part of the steps now.")
NUM_REQUESTS_WAITING = Metric("fastgen_num_requests_waiting", "gauge", "Sequences that wait to be admitted.")
WAITING_TOKENS = Metric(
    "fastgen_waiting_tokens",
    "gauge",
    "Tokens not yet computed of everything that waits or runs: the work ahead.",
)
KV_CACHE_USAGE = Metric("fastgen_kv_cache_usage_perc", "gauge", "Share of the KV blocks in use, 0 to 1.")
KV_CACHE_BLOCKS = Metric("fastgen_kv_cache_blocks", "gauge", "KV blocks there are.")
ENGINE_UP = Metric("fastgen_engine_up", "gauge", "1 while the engine process is alive, 0 while it is being restarted.")
READY = Metric("fastgen_ready", "gauge", "1 while /readyz says yes; 0 while the engine restarts or the server drains.")

# What one step does.
TOKEN_BUDGET = Metric("fastgen_token_budget", "gauge", "Tokens a step is filled to (Dynamic SplitFuse's target).")
CAPACITY = Metric(
    "fastgen_capacity_tokens_per_second",
    "gauge",
    "Tokens per second that full steps sustain, one after the other, as measured when the engine started; 0 where the "
    "budget was set by hand.",
)
ITERATION_TOKENS = Metric(
    "fastgen_iteration_tokens_total", "histogram", "Tokens in each step.", buckets=STEP_TOKENS_BUCKETS
)
STEP_FILL = Metric(
    "fastgen_step_fill_ratio", "histogram", "Tokens in each step divided by the token budget.", buckets=FILL_BUCKETS
)
STEP_SECONDS = Metric("fastgen_step_duration_seconds", "histogram", "Time of each step.", buckets=FIRST_TOKEN_BUCKETS)
NUM_PREEMPTIONS = Metric(
    "fastgen_num_preemptions", "counter", "Sequences that gave their blocks back to others and were computed again."
)
PREFIX_CACHE_QUERIES = Metric("fastgen_prefix_cache_queries", "counter", "Prompt tokens looked up in the prefix cache.")
PREFIX_CACHE_HITS = Metric("fastgen_prefix_cache_hits", "counter", "Prompt tokens found in the prefix cache.")

# Tokens.
PROMPT_TOKENS = Metric("fastgen_prompt_tokens", "counter", "Prompt tokens of sequences that gave their first token.")
PROMPT_TOKENS_CACHED = Metric(
    "fastgen_prompt_tokens_cached", "counter", "Prompt tokens of finished sequences that the prefix cache held."
)
GENERATION_TOKENS = Metric("fastgen_generation_tokens", "counter", "Tokens generated.")
OFFERED_TOKENS = Metric(
    "fastgen_offered_tokens",
    "counter",
    "Work that arrived, refused work included: prompt tokens plus the answer expected (the most that was asked for, "
    "or the average answer of late where that is shorter). What demand is computed from.",
)
SERVED_TOKENS = Metric(
    "fastgen_served_tokens",
    "counter",
    "Work that was done: prompt tokens of sequences that gave their first token, plus tokens generated.",
)

# Requests.
REQUESTS = Metric(
    "fastgen_requests",
    "counter",
    "Valid requests that ended: finished, refused because the queue was full, failed, or left by their client. "
    "Malformed ones (400, 404) are not counted: they say nothing of the service.",
)
EFFECTIVE_REQUESTS = Metric(
    "fastgen_effective_requests",
    "counter",
    "Requests that met their latency promise (docs/metrics.md): first token in time for the prompt's length, and the "
    "moving average of the gaps always below 1/generation_rate. Divided by fastgen_requests_total: attainment.",
    (GENERATION_RATE,),
)
REQUEST_SUCCESS = Metric(
    "fastgen_request_success", "counter", "Sequences that finished, by reason: stop or length.", ("finished_reason",)
)
REQUEST_ERRORS = Metric(
    "fastgen_request_errors",
    "counter",
    "Requests that ended with an error, by its code: that of the response's error object.",
    ("code",),
)
FIRST_TOKEN_SECONDS = Metric(
    "fastgen_time_to_first_token_seconds",
    "histogram",
    "From a request's arrival to its first token.",
    buckets=FIRST_TOKEN_BUCKETS,
)
GAP_SECONDS = Metric(
    "fastgen_inter_token_latency_seconds", "histogram", "Each gap between two tokens of an answer.", buckets=GAP_BUCKETS
)
E2E_SECONDS = Metric(
    "fastgen_e2e_request_latency_seconds",
    "histogram",
    "From a request's arrival to its last token.",
    buckets=REQUEST_BUCKETS,
)
QUEUE_SECONDS = Metric(
    "fastgen_request_queue_time_seconds",
    "histogram",
    "From a sequence's arrival at the engine to its first step.",
    buckets=REQUEST_BUCKETS,
)
REQUEST_PROMPT_TOKENS = Metric(
    "fastgen_request_prompt_tokens", "histogram", "Prompt tokens of each finished sequence.", buckets=TOKENS_BUCKETS
)
REQUEST_GENERATION_TOKENS = Metric(
    "fastgen_request_generation_tokens",
    "histogram",
    "Tokens generated by each finished sequence.",
    buckets=TOKENS_BUCKETS,
)

REPLICA_METRICS: Final[tuple[Metric, ...]] = (
    NUM_REQUESTS_RUNNING,
    NUM_REQUESTS_WAITING,
    WAITING_TOKENS,
    KV_CACHE_USAGE,
    KV_CACHE_BLOCKS,
    ENGINE_UP,
    READY,
    TOKEN_BUDGET,
    CAPACITY,
    ITERATION_TOKENS,
    STEP_FILL,
    STEP_SECONDS,
    NUM_PREEMPTIONS,
    PREFIX_CACHE_QUERIES,
    PREFIX_CACHE_HITS,
    PROMPT_TOKENS,
    PROMPT_TOKENS_CACHED,
    GENERATION_TOKENS,
    OFFERED_TOKENS,
    SERVED_TOKENS,
    REQUESTS,
    EFFECTIVE_REQUESTS,
    REQUEST_SUCCESS,
    REQUEST_ERRORS,
    FIRST_TOKEN_SECONDS,
    GAP_SECONDS,
    E2E_SECONDS,
    QUEUE_SECONDS,
    REQUEST_PROMPT_TOKENS,
    REQUEST_GENERATION_TOKENS,
)
"""What one replica (`fastgen serve`) publishes at /metrics."""
