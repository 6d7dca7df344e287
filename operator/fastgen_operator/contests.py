"""Putting back what others change: at once for a hand, ever slower for a machine that does not stop. Pure."""

from __future__ import annotations

from typing import NamedTuple

FREE = 10
"""Times within WINDOW_SECONDS that are answered at once."""
WINDOW_SECONDS = 300.0
MOST_SECONDS = 60.0
TOLD_SECONDS = 600.0
"""How long the condition tells of the last time."""


class Contest(NamedTuple):
    """When fields of one object were put back, oldest first, and the last remark on it."""

    at_seconds: tuple[float, ...] = ()
    remark: str = ""


def wait_seconds(contest: Contest, now_seconds: float) -> float:
    """How long to leave the object as others made it."""
    recent = [at for at in contest.at_seconds if now_seconds - at < WINDOW_SECONDS]
    if len(recent) < FREE:
        return 0.0
    pause = min(MOST_SECONDS, 2.0 ** (len(recent) - FREE))
    return max(0.0, recent[-1] + pause - now_seconds)


def put_back(contest: Contest, now_seconds: float, remark: str) -> Contest:
    """The same with one time more."""
    recent = tuple(at for at in contest.at_seconds if now_seconds - at < WINDOW_SECONDS)
    return Contest((*recent, now_seconds), remark)


def is_told(contest: Contest, now_seconds: float) -> bool:
    """Whether the condition still tells of it."""
    return bool(contest.at_seconds) and now_seconds - contest.at_seconds[-1] < TOLD_SECONDS


def until_untold_seconds(contest: Contest, now_seconds: float) -> float:
    """When that ends."""
    return contest.at_seconds[-1] + TOLD_SECONDS - now_seconds
