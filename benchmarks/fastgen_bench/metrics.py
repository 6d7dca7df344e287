"""From records to numbers. Keys and definitions are vLLM's (`vllm bench serve`), so its tools read ours:

    TTFT   first piece of the answer - when the request was due
    ITL    every gap between pieces, all requests pooled
    TPOT   (E2EL - TTFT) / (output tokens - 1), per request; answers of one token have none
    E2EL   end of the answer - when the request was due

Ours besides: effective throughput (fastgen.core.sla), and MII's throughput = clients / mean latency.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastgen.core.sla import EFFECTIVE_RATES, Sla, judge
from fastgen_bench.records import RequestRecord

if TYPE_CHECKING:
    from fastgen_bench.load import LoadResult

Summary = dict[str, Any]
"""One point of a sweep, ready for JSON. Times end in _ms, rates are per second; None where unknown."""

PERCENTILES = (90, 95, 99)


def summarize(
    records: Sequence[RequestRecord],
    *,
    clients: int | None = None,
    rate: float | None = None,
    prompt_tokens_per_second: float = 512.0,
) -> Summary:
    """All figures of one point. `clients` for a closed loop, `rate` for an open one.

    Failures count in `failed`, as not effective, and nowhere else. The duration runs from the first
    request's due time to the last one's end.
    """
    good = [record for record in records if record.ok]
    duration = duration_seconds(records)
    inputs = sum(record.prompt_tokens for record in good)
    outputs = sum(record.completion_tokens for record in good)
    latencies = [record.latency_seconds for record in good]
    summary: Summary = {
        "num_prompts": len(records),
        "max_concurrency": clients if rate is None else None,
        "request_rate": "inf" if rate is None else rate,
        "burstiness": 1.0,
        "duration": duration,
        "completed": len(good),
        "failed": len(records) - len(good),
        "total_input_tokens": inputs,
        "total_output_tokens": outputs,
        "request_throughput": _per(len(good), duration),
        "output_throughput": _per(outputs, duration),
        "total_token_throughput": _per(inputs + outputs, duration),
        "max_concurrent_requests": peak_concurrency(records),
        "mii_throughput": clients / float(np.mean(latencies)) if clients and rate is None and latencies else None,
    }
    summary |= _spread("ttft", [r.first_token_seconds for r in good if r.first_token_seconds is not None])
    summary |= _spread("tpot", [r.seconds_per_output_token for r in good if r.seconds_per_output_token is not None])
    summary |= _spread("itl", [gap for record in good for gap in record.gaps_seconds])
    summary |= _spread("e2el", latencies)
    summary |= _spread("send_delay", [record.send_delay_seconds for record in good])
    summary |= _effective(records, duration, prompt_tokens_per_second)
    summary["errors_by_kind"] = _count(record.error for record in records if record.error is not None)
    return summary


def summarize_load(result: LoadResult) -> Summary:
    """As `summarize`, with what `run_load` knows about the point."""
    config = result.config
    return {
        "label": config.label,
        "date": result.began.strftime("%Y%m%d-%H%M%S"),
        "backend": f"openai-{config.api}",
        "model_id": result.model,
        "tokenizer_id": config.tokenizer,
        "streamed": config.stream,
        "interrupted": result.interrupted,
        "abandoned": result.abandoned,
        **summarize(
            result.records,
            clients=None if config.is_open_loop else config.clients,
            rate=config.rate,
            prompt_tokens_per_second=config.promise_prompt_tokens_per_second,
        ),
        "generator_cpu_share": result.generator.cpu_share,
        "generator_p99_lag_ms": result.generator.p99_lag_seconds * 1000.0,
    }


def details(records: Sequence[RequestRecord]) -> Summary:
    """Per-request lists under vLLM's names (`--save-detailed`), all of one length and order."""
    return {
        "input_lens": [record.prompt_tokens for record in records],
        "output_lens": [record.completion_tokens for record in records],
        "ttfts": [record.first_token_seconds for record in records],
        "itls": [record.gaps_seconds for record in records],
        "e2els": [record.latency_seconds for record in records],
        "start_times": [record.due_seconds for record in records],
        "send_delays": [record.send_delay_seconds for record in records],
        "chunk_tokens": [record.chunk_tokens for record in records],
        "errors": [record.error or "" for record in records],
    }


def duration_seconds(records: Sequence[RequestRecord]) -> float:
    if not records:
        return 0.0
    return max(record.ended_seconds for record in records) - min(record.due_seconds for record in records)


def peak_concurrency(records: Iterable[RequestRecord]) -> int:
    """The most requests that were in flight at one moment."""
    moments = [(r.sent_seconds, 1) for r in records]
    moments += [(r.ended_seconds, -1) for r in records]
    moments.sort()
    level = peak = 0
    for _, change in moments:
        level += change
        peak = max(peak, level)
    return peak


def is_effective(record: RequestRecord, sla: Sla) -> bool:
    return record.ok and judge(record.prompt_tokens, record.token_seconds, record.due_seconds, sla).effective


def _effective(records: Sequence[RequestRecord], duration: float, prompt_rate: float) -> Summary:
    """Unknown (None) where answers were not streamed: then nobody saw when their tokens came."""
    receipts = [record.server_effective for record in records if record.server_effective is not None]
    by_server = _per(sum(receipts), duration) if receipts else None
    good = [record for record in records if record.ok]
    if good and not any(record.chunk_seconds for record in good):
        unknown = {f"{rate:g}": None for rate in EFFECTIVE_RATES}
        return {
            "effective_throughput": unknown,
            "effective_share": unknown,
            "request_goodput": None,
            "effective_throughput_by_server": by_server,
        }
    sla = Sla(prompt_tokens_per_second=prompt_rate)
    passed = {
        f"{rate:g}": sum(is_effective(record, sla.at_rate(rate)) for record in records) for rate in EFFECTIVE_RATES
    }
    return {
        "effective_throughput": {rate: _per(count, duration) for rate, count in passed.items()},
        "effective_share": {rate: _per(count, len(records)) for rate, count in passed.items()},
        "request_goodput": _per(passed["4"], duration),
        "effective_throughput_by_server": by_server,
    }


def _spread(name: str, seconds: Sequence[float]) -> Summary:
    """mean, median, std and percentiles, in milliseconds; numpy's linear interpolation, as vLLM's."""
    keys = [f"mean_{name}_ms", f"median_{name}_ms", f"std_{name}_ms", *(f"p{p}_{name}_ms" for p in PERCENTILES)]
    if not len(seconds):
        return dict.fromkeys(keys)
    values = np.asarray(seconds, dtype=np.float64) * 1000.0
    figures = [values.mean(), np.median(values), values.std(), *(np.percentile(values, p) for p in PERCENTILES)]
    return {key: float(figure) for key, figure in zip(keys, figures, strict=True)}


def _per(count: float, total: float) -> float:
    return count / total if total > 0 else 0.0


def _count(names: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return counts
