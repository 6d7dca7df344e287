"""How long something that ended or failed waits before it is tried again, as a kubelet waits."""

from __future__ import annotations

from typing import NamedTuple

FIRST_SECONDS = 10.0
MOST_SECONDS = 300.0


class Backoff(NamedTuple):
    """At once the first time, then after delays that double."""

    first_seconds: float = FIRST_SECONDS
    most_seconds: float = MOST_SECONDS
    failures: int = 0

    @property
    def wait_seconds(self) -> float:
        """The wait after the last failure."""
        if self.failures <= 1:
            return 0.0
        return min(self.first_seconds * 2.0 ** min(self.failures - 2, 30), self.most_seconds)

    def after(self, ran_seconds: float) -> Backoff:
        """It ended after `ran_seconds`; twice the longest wait without an end begins anew."""
        return self._replace(failures=1 if ran_seconds > 2 * self.most_seconds else self.failures + 1)
