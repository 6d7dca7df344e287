"""The metrics of one replica, on a registry of their own. Names and meanings: fastgen/contract/metrics.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import choose_encoder

from fastgen.config import EngineInfo
from fastgen.contract import metrics as names
from fastgen.core.events import StepStats
from fastgen.core.sampling_params import SamplingParams
from fastgen.core.sla import EFFECTIVE_RATES, Sla
from fastgen.errors import RequestError
from fastgen.text.stream import TextDelta

if TYPE_CHECKING:
    from fastgen_server.generation import Answer

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, which nobody reads

_KINDS: dict[str, Any] = {"counter": Counter, "gauge": Gauge, "histogram": Histogram}
_ESTIMATE_WEIGHT = 0.05
_FIRST_ESTIMATE_TOKENS = 128.0


class ServerMetrics:
    """Everything a replica counts. Calls take microseconds and never fail a request."""

    def __init__(self, model_name: str, info: EngineInfo, sla: Sla) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self.rates = tuple(sorted({*EFFECTIVE_RATES, sla.generation_tokens_per_second}))
        self._model_name = model_name
        self._metrics = {metric.name: _make(metric, self.registry) for metric in names.REPLICA_METRICS}
        # Those without further labels, ready to use; a series exists from the start, so that rates do too.
        self._plain = {
            metric.name: self._metrics[metric.name].labels(model_name)
            for metric in names.REPLICA_METRICS
            if not metric.labels
        }
        self._totals: dict[str, int] = {}
        self.waiting_tokens = 0
        """Of the last step; balancers are told."""
        self._average_answer_tokens = _FIRST_ESTIMATE_TOKENS
        for rate in self.rates:
            self._labelled(names.EFFECTIVE_REQUESTS, f"{rate:g}")
        for reason in ("stop", "length"):
            self._labelled(names.REQUEST_SUCCESS, reason)
        self.engine(info, up=True, ready=False)

    def render(self, accept: str) -> tuple[bytes, str]:
        """(body, content type), in the format that the scraper asked for."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    # -- the engine ---------------------------------------------------------------------------------------------

    def engine(self, info: EngineInfo, *, up: bool, ready: bool) -> None:
        """What the engine is now: it may have been restarted since, or be dead, and then nothing runs."""
        self._set(names.TOKEN_BUDGET, info.token_budget)
        self._set(names.CAPACITY, info.capacity_tokens_per_second)
        self._set(names.KV_CACHE_BLOCKS, info.num_blocks)
        self._set(names.ENGINE_UP, up)
        self._set(names.READY, ready)
        if not up:
            for metric in (names.NUM_REQUESTS_RUNNING, names.NUM_REQUESTS_WAITING, names.WAITING_TOKENS):
                self._set(metric, 0)
            self._set(names.KV_CACHE_USAGE, 0)

    def step(self, stats: StepStats) -> None:
        """One step of the engine."""
        self._set(names.NUM_REQUESTS_RUNNING, stats.num_running)
        self._set(names.NUM_REQUESTS_WAITING, stats.num_waiting)
        self._set(names.WAITING_TOKENS, stats.waiting_tokens)
        self.waiting_tokens = stats.waiting_tokens
        self._set(names.KV_CACHE_USAGE, stats.kv_used_blocks / max(1, stats.kv_total_blocks))
        if stats.step_tokens:
            self._observe(names.ITERATION_TOKENS, stats.step_tokens)
            self._observe(names.STEP_FILL, stats.step_tokens / max(1, stats.token_budget))
            self._observe(names.STEP_SECONDS, stats.step_seconds)
        self._grow(names.NUM_PREEMPTIONS, stats.num_preempted)
        self._grow(names.PREFIX_CACHE_QUERIES, stats.prefix_query_tokens)
        self._grow(names.PREFIX_CACHE_HITS, stats.prefix_hit_tokens)

    # -- requests -----------------------------------------------------------------------------------------------

    def offered(self, prompts_tokens: Sequence[int], params: SamplingParams) -> None:
        """Work arrived; the answer's length is not known yet, so it is estimated."""
        answer = self._average_answer_tokens
        if params.max_new_tokens is not None:
            answer = params.max_new_tokens if params.ignore_eos else min(answer, params.max_new_tokens)
        self._add(names.OFFERED_TOKENS, sum(prompts_tokens) + answer * params.n * len(prompts_tokens))

    def request_refused(self, error: RequestError) -> None:
        """A request that never began. A malformed one (4xx) says nothing of the service."""
        self._labelled(names.REQUEST_ERRORS, error.code).inc()
        if error.http_status >= 500:
            self._add(names.REQUESTS, 1)

    def token(self, gap_seconds: float, first: bool, prompt_tokens: int) -> None:
        """One token of one choice went out, so long after the one before (or after the request's arrival)."""
        self._add(names.GENERATION_TOKENS, 1)
        self._add(names.SERVED_TOKENS, 1)
        if not first:
            self._observe(names.GAP_SECONDS, gap_seconds)
            return
        self._observe(names.FIRST_TOKEN_SECONDS, gap_seconds)
        self._add(names.PROMPT_TOKENS, prompt_tokens)
        self._add(names.SERVED_TOKENS, prompt_tokens)

    def choice_finished(self, delta: TextDelta, answer: Answer, now_seconds: float) -> None:
        if delta.finish_reason == "cancelled":
            return
        num_generated = answer.clocks[delta.index].num_tokens
        self._labelled(names.REQUEST_SUCCESS, str(delta.finish_reason)).inc()
        self._observe(names.E2E_SECONDS, now_seconds - answer.call.arrival_seconds)
        self._observe(names.REQUEST_GENERATION_TOKENS, num_generated)
        self._observe(names.REQUEST_PROMPT_TOKENS, len(answer.prompts[delta.index // answer.call.params.n]))
        self._average_answer_tokens += _ESTIMATE_WEIGHT * (num_generated - self._average_answer_tokens)
        if delta.timing is not None:
            self._observe(names.QUEUE_SECONDS, delta.timing.queued_seconds)
            self._add(names.PROMPT_TOKENS_CACHED, delta.timing.num_cached_tokens)

    def request_ended(self, answer: Answer, error: RequestError | None) -> None:
        """An answer that began has ended: finished or left by its client (no error), or failed."""
        if error is not None:
            self._labelled(names.REQUEST_ERRORS, error.code).inc()
            if error.http_status < 499:
                return
        self._add(names.REQUESTS, 1)
        if error is None:
            for rate in self.rates:
                if answer.receipt(rate).effective:
                    self._labelled(names.EFFECTIVE_REQUESTS, f"{rate:g}").inc()

    def _set(self, metric: names.Metric, value: float) -> None:
        self._plain[metric.name].set(value)

    def _add(self, metric: names.Metric, value: float) -> None:
        self._plain[metric.name].inc(value)

    def _grow(self, metric: names.Metric, total: int) -> None:
        """Follow a total that the engine keeps; one that was restarted begins at 0 again."""
        seen = self._totals.get(metric.name, 0)
        self._add(metric, total - seen if total >= seen else total)
        self._totals[metric.name] = total

    def _observe(self, metric: names.Metric, value: float) -> None:
        self._plain[metric.name].observe(value)

    def _labelled(self, metric: names.Metric, *values: str) -> Any:
        return self._metrics[metric.name].labels(self._model_name, *values)


def _make(metric: names.Metric, registry: CollectorRegistry) -> Any:
    more = {"buckets": metric.buckets} if metric.kind == "histogram" else {}
    labels = (names.MODEL_NAME, *metric.labels)
    return _KINDS[metric.kind](metric.name, metric.help, labels, registry=registry, **more)
