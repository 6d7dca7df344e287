"""Every metric FastGen publishes: name, kind, unit, labels, meaning. Nothing else spells these names.

Names follow vLLM's, with our prefix, so that existing dashboards need one search and replace.
The tables in docs/ are rendered from here (`render_table`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

MetricKind = Literal["counter", "gauge", "histogram"]


class Metric(NamedTuple):
    """One metric. A counter's name ends in `_total`, as it does in the exposition."""

    name: str
    kind: MetricKind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


MODEL: Final = ("model_name",)

_SECONDS = (
    0.001,
    0.005,
    0.01,
    0.02,
    0.04,
    0.06,
    0.08,
    0.1,
    0.25,
    0.5,
    0.75,
    1.0,
    2.5,
    5.0,
    7.5,
    10.0,
    20.0,
    40.0,
    80.0,
)
_GAP_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0)
_LONG_SECONDS = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0,
                 960.0, 1920.0, 7680.0)  # fmt: skip
_TOKENS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000)

# --- one replica: requests -------------------------------------------------------------------------------------------
REQUESTS_RUNNING: Final = Metric("fastgen_num_requests_running", "gauge", "Sequences in the running batch.", MODEL)
REQUESTS_WAITING: Final = Metric("fastgen_num_requests_waiting", "gauge", "Sequences that wait to be admitted.", MODEL)
REQUESTS: Final = Metric("fastgen_requests_total", "counter", "Requests that arrived, refused and failed ones included.",
                         MODEL)  # fmt: skip
EFFECTIVE_REQUESTS: Final = Metric(
    "fastgen_effective_requests_total", "counter",
    "Requests that kept the latency promise, judged at this many generated tokens per second.",
    (*MODEL, "generation_rate"),
)  # fmt: skip
REQUEST_SUCCESS: Final = Metric("fastgen_request_success_total", "counter", "Requests that finished, by reason.",
                                (*MODEL, "finished_reason"))  # fmt: skip
REQUEST_FAILURES: Final = Metric("fastgen_request_failures_total", "counter", "Requests that ended in an error, by its code.",
                                 (*MODEL, "code"))  # fmt: skip

# --- one replica: tokens ---------------------------------------------------------------------------------------------
PROMPT_TOKENS: Final = Metric("fastgen_prompt_tokens_total", "counter", "Prompt tokens of admitted requests.", MODEL)
PROMPT_TOKENS_CACHED: Final = Metric("fastgen_prompt_tokens_cached_total", "counter",
                                     "Prompt tokens that came from the prefix cache.", MODEL)  # fmt: skip
GENERATION_TOKENS: Final = Metric("fastgen_generation_tokens_total", "counter", "Tokens generated.", MODEL)
OFFERED_TOKENS: Final = Metric(
    "fastgen_offered_tokens_total", "counter",
    "Tokens that arriving requests asked for: their prompt, and the answer they allowed.", MODEL,
)  # fmt: skip
SERVED_TOKENS: Final = Metric("fastgen_served_tokens_total", "counter",
                              "Prompt tokens computed or reused, and tokens generated.", MODEL)  # fmt: skip

# --- one replica: steps, cache, capacity -----------------------------------------------------------------------------
ITERATION_TOKENS: Final = Metric("fastgen_iteration_tokens_total", "histogram", "Tokens of each step.", MODEL, _TOKENS)
STEP_TOKENS: Final = Metric("fastgen_step_tokens", "gauge", "Tokens of the latest step.", MODEL)
STEP_FILL: Final = Metric(
    "fastgen_step_fill_ratio", "gauge", "Tokens of the latest step against the token budget.", MODEL
)
TOKEN_BUDGET: Final = Metric("fastgen_token_budget_tokens", "gauge", "Tokens a step aims at.", MODEL)
STEP_SECONDS: Final = Metric("fastgen_step_duration_seconds", "histogram", "Duration of each step.", MODEL, _SECONDS)
WAITING_TOKENS: Final = Metric("fastgen_waiting_tokens", "gauge",
                               "Tokens not yet computed of everything queued or running.", MODEL)  # fmt: skip
KV_USAGE: Final = Metric("fastgen_kv_cache_usage_perc", "gauge", "Share of KV blocks in use, from 0 to 1.", MODEL)
PREFIX_QUERIES: Final = Metric("fastgen_prefix_cache_queries_total", "counter",
                               "Prompt tokens looked up in the prefix cache.", MODEL)  # fmt: skip
PREFIX_HITS: Final = Metric("fastgen_prefix_cache_hits_total", "counter", "Prompt tokens found there.", MODEL)
PREEMPTIONS: Final = Metric("fastgen_num_preemptions_total", "counter", "Sequences that gave their blocks back for a while.",
                            MODEL)  # fmt: skip
CAPACITY: Final = Metric("fastgen_capacity_tokens_per_second", "gauge",
                         "Tokens per second of full steps, as measured at start.", MODEL)  # fmt: skip
ENGINE_UP: Final = Metric(
    "fastgen_engine_up", "gauge", "1 while the engine process answers, 0 while it restarts.", MODEL
)
ENGINE_RESTARTS: Final = Metric(
    "fastgen_engine_restarts_total", "counter", "Times the engine process was restarted.", MODEL
)
ENGINE_INFO: Final = Metric(
    "fastgen_engine_info", "gauge", "Always 1; the labels say what this engine is.",
    (*MODEL, "version", "architecture", "device", "dtype", "attention", "composition"),
)  # fmt: skip

# --- one replica: where the time of requests goes --------------------------------------------------------------------
TIME_TO_FIRST_TOKEN: Final = Metric("fastgen_time_to_first_token_seconds", "histogram",
                                    "From arrival to the first token.", MODEL, _SECONDS)  # fmt: skip
INTER_TOKEN_LATENCY: Final = Metric("fastgen_inter_token_latency_seconds", "histogram",
                                    "Between one token and the next.", MODEL, _GAP_SECONDS)  # fmt: skip
TIME_PER_OUTPUT_TOKEN: Final = Metric("fastgen_request_time_per_output_token_seconds", "histogram",
                                      "Mean of a request's gaps between tokens.", MODEL, _GAP_SECONDS)  # fmt: skip
E2E_LATENCY: Final = Metric("fastgen_e2e_request_latency_seconds", "histogram", "From arrival to the last token.", MODEL,
                            _LONG_SECONDS)  # fmt: skip
QUEUE_TIME: Final = Metric("fastgen_request_queue_time_seconds", "histogram", "From arrival to admission.", MODEL,
                           _LONG_SECONDS)  # fmt: skip
REQUEST_PROMPT_TOKENS: Final = Metric("fastgen_request_prompt_tokens", "histogram", "Prompt tokens of each request.", MODEL,
                                      _TOKENS)  # fmt: skip
REQUEST_GENERATION_TOKENS: Final = Metric("fastgen_request_generation_tokens", "histogram",
                                          "Tokens generated for each request.", MODEL, _TOKENS)  # fmt: skip

REPLICA_METRICS: Final = (
    REQUESTS_RUNNING, REQUESTS_WAITING, REQUESTS, EFFECTIVE_REQUESTS, REQUEST_SUCCESS, REQUEST_FAILURES,
    PROMPT_TOKENS, PROMPT_TOKENS_CACHED, GENERATION_TOKENS, OFFERED_TOKENS, SERVED_TOKENS,
    ITERATION_TOKENS, STEP_TOKENS, STEP_FILL, TOKEN_BUDGET, STEP_SECONDS, WAITING_TOKENS, KV_USAGE,
    PREFIX_QUERIES, PREFIX_HITS, PREEMPTIONS, CAPACITY, ENGINE_UP, ENGINE_RESTARTS, ENGINE_INFO,
    TIME_TO_FIRST_TOKEN, INTER_TOKEN_LATENCY, TIME_PER_OUTPUT_TOKEN, E2E_LATENCY, QUEUE_TIME,
    REQUEST_PROMPT_TOKENS, REQUEST_GENERATION_TOKENS,
)  # fmt: skip

# --- the balancer ----------------------------------------------------------------------------------------------------
BALANCER_REQUESTS: Final = Metric("fastgen_balancer_requests_total", "counter",
                                  "Requests that arrived at the balancer, by protocol and outcome.",
                                  ("protocol", "code"))  # fmt: skip
BALANCER_OFFERED_TOKENS: Final = Metric("fastgen_balancer_offered_tokens_total", "counter",
                                        "Tokens that arriving requests asked for, as estimated from their bytes.",
                                        ("protocol",))  # fmt: skip
BALANCER_ACTIVE: Final = Metric("fastgen_balancer_active_requests", "gauge", "Requests now forwarded, by replica.",
                                ("replica",))  # fmt: skip
BALANCER_OUTSTANDING: Final = Metric("fastgen_balancer_outstanding_tokens", "gauge", "Tokens now owed, by replica.",
                                     ("replica",))  # fmt: skip
BALANCER_HELD: Final = Metric("fastgen_balancer_held_requests", "gauge", "Requests held until a replica is ready.")
BALANCER_REPLICAS: Final = Metric("fastgen_balancer_replicas", "gauge", "Replicas known, by state.", ("state",))
BALANCER_RETRIES: Final = Metric("fastgen_balancer_retries_total", "counter",
                                 "Requests sent again to another replica before any answer had begun.")  # fmt: skip
BALANCER_EJECTIONS: Final = Metric("fastgen_balancer_ejections_total", "counter",
                                   "Times a replica was taken out of the rotation.", ("replica",))  # fmt: skip

BALANCER_METRICS: Final = (
    BALANCER_REQUESTS, BALANCER_OFFERED_TOKENS, BALANCER_ACTIVE, BALANCER_OUTSTANDING, BALANCER_HELD,
    BALANCER_REPLICAS, BALANCER_RETRIES, BALANCER_EJECTIONS,
)  # fmt: skip

ALL_METRICS: Final = (*REPLICA_METRICS, *BALANCER_METRICS)


def render_table(metrics: Iterable[Metric]) -> str:
    """A Markdown table of metrics, for the documentation."""
    lines = ["| metric | kind | labels | meaning |", "|---|---|---|---|"]
    lines += [f"| `{m.name}` | {m.kind} | {', '.join(m.labels) or '–'} | {m.help} |" for m in metrics]
    return "\n".join(lines) + "\n"
