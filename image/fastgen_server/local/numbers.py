"""From the /metrics of replicas and balancer to the few numbers a person watches.

Counters live in processes that restart; `Totals` adds up what each life of a process counted, so that nothing
runs backwards, and keeps a short history, so that rates are those of the last seconds.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from fastgen.contract import balancer_metrics, metrics

RATE_WINDOW_SECONDS = 10.0
EFFECTIVE_WINDOW_SECONDS = 60.0

Labels = tuple[tuple[str, str], ...]
Samples = Mapping[tuple[str, Labels], float]
"""By sample name and labels in order of name."""

_SUMMED = (
    metrics.REQUESTS.sample,
    metrics.EFFECTIVE_REQUESTS.sample,
    metrics.SERVED_TOKENS.sample,
    metrics.GENERATION_TOKENS.sample,
    metrics.STEP_FILL.name + "_sum",
    metrics.STEP_FILL.name + "_count",
    balancer_metrics.BALANCER_OFFERED_REQUESTS,
    balancer_metrics.BALANCER_RETRIES,
)


def parse_samples(text: str) -> Samples:
    """Every sample of a Prometheus text exposition."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def total(samples: Samples, name: str, **wanted: str) -> float | None:
    """The sum over all series of `name` that carry the `wanted` labels; None where there is no such series."""
    found = [v for (key, labels), v in samples.items() if key == name and wanted.items() <= dict(labels).items()]
    return sum(found) if found else None


class _Life(NamedTuple):
    pid: int
    samples: Samples


class Totals:
    """What all processes counted since this began, through their restarts."""

    def __init__(self) -> None:
        self._lives: dict[str, _Life] = {}
        self._sums: dict[tuple[str, str, Labels], float] = collections.defaultdict(float)
        self._history: collections.deque[tuple[float, dict[tuple[str, str, Labels], float]]] = collections.deque()

    def add(self, process: str, pid: int, samples: Samples) -> None:
        """What `process`, now running as `pid`, says its counters are."""
        before = self._lives.get(process)
        old: Samples = before.samples if before is not None and before.pid == pid else {}
        counted = {key: value for key, value in samples.items() if key[0] in _SUMMED}
        for (name, labels), value in counted.items():
            self._sums[process, name, labels] += value - old.get((name, labels), 0.0)
        self._lives[process] = _Life(pid, counted)

    def mark(self, now: float) -> None:
        """Remember the sums at this time, for rates."""
        self._history.append((now, dict(self._sums)))
        while len(self._history) > 2 and now - self._history[1][0] > EFFECTIVE_WINDOW_SECONDS:
            self._history.popleft()

    def count(self, name: str, process: str | None = None, **wanted: str) -> float:
        """Since the beginning."""
        return _sum(self._sums, name, process, wanted)

    def gain(self, name: str, window_seconds: float, process: str | None = None, **wanted: str) -> tuple[float, float]:
        """How much was added over (at most) the last `window_seconds`, and over how many seconds that was."""
        if len(self._history) < 2:
            return 0.0, 0.0
        now, latest = self._history[-1]
        then, earlier = next(entry for entry in self._history if now - entry[0] <= window_seconds)
        if then == now:
            then, earlier = self._history[-2]
        return _sum(latest, name, process, wanted) - _sum(earlier, name, process, wanted), now - then

    def rate(self, name: str, process: str | None = None, **wanted: str) -> float:
        """Per second, over the last seconds."""
        added, seconds = self.gain(name, RATE_WINDOW_SECONDS, process, **wanted)
        return added / seconds if seconds else 0.0

    def values_of(self, name: str, label: str) -> Iterator[str]:
        """The values that `label` takes in series of `name`."""
        yield from sorted(
            {dict(labels)[label] for _, key, labels in self._sums if key == name and label in dict(labels)}
        )


def _sum(
    sums: Mapping[tuple[str, str, Labels], float], name: str, process: str | None, wanted: Mapping[str, str]
) -> float:
    return sum(
        value
        for (owner, key, labels), value in sums.items()
        if key == name and process in (None, owner) and wanted.items() <= dict(labels).items()
    )
