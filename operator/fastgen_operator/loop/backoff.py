"""How long to wait before trying again. Pure."""

from __future__ import annotations

FIRST_SECONDS = 0.5
MOST_SECONDS = 60.0
JITTER = 0.2


def backoff_seconds(failures: int, luck: float) -> float:
    """Twice as long after each failure in a row; `luck` in [0, 1) spreads those that failed together."""
    plain = min(MOST_SECONDS, FIRST_SECONDS * 2.0 ** min(max(failures - 1, 0), 20))
    return plain * (1.0 - JITTER + 2.0 * JITTER * luck)
