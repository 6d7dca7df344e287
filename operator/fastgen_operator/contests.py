"""Putting back what others change: at once for a hand, ever slower for a machine that does not stop. Pure."""

from __future__ import annotations

from typing import NamedTuple

FREE = 10
"""Times in a row that are answered at once."""
QUIET_SECONDS = 300.0
"""After so long without a change the next one is the first again."""
MOST_SECONDS = 60.0
TOLD_SECONDS = 600.0
"""How long the condition tells of the last time."""


class Contest(NamedTuple):
    """How often in a row one object was put back."""

    times: int = 0
    last_at_seconds: float = 0.0
    remark: str = ""
    """On the last time."""


def wait_seconds(contest: Contest, now_seconds: float) -> float:
    """How long to leave the object as others made it."""
    since = now_seconds - contest.last_at_seconds
    if contest.times < FREE or since >= QUIET_SECONDS:
        return 0.0
    return max(0.0, min(MOST_SECONDS, 2.0 ** min(contest.times - FREE, 20)) - since)


def put_back(contest: Contest, now_seconds: float, remark: str) -> Contest:
    """The same with one time more."""
    is_first = now_seconds - contest.last_at_seconds >= QUIET_SECONDS
    return Contest(1 if is_first else contest.times + 1, now_seconds, remark)


def until_untold_seconds(contest: Contest, now_seconds: float) -> float:
    """How long the condition goes on to tell of it; 0 or less: it does not."""
    return contest.last_at_seconds + TOLD_SECONDS - now_seconds if contest.times else 0.0
