"""How a pod that is taken away spends its terminationGracePeriodSeconds.

deleted ─► preStop: serves on, while others hear of it ─► SIGTERM: finishes its streams ─► margin ─► SIGKILL
"""

from __future__ import annotations

from typing import NamedTuple

MOST_NOTICE_SECONDS = 5
MOST_MARGIN_SECONDS = 5
BALANCER_EXTRA_SECONDS = 10
"""A balancer outlives the replicas whose streams it carries."""


class Grace(NamedTuple):
    """The parts of a termination grace period; they add up to it."""

    total_seconds: int
    notice_seconds: int
    """preStop: nothing changes for the pod while the others notice that it leaves."""
    finish_seconds: int
    """After SIGTERM, for running requests."""
    margin_seconds: int
    """For the process to end by itself before it is killed."""


def divide(total_seconds: int) -> Grace:
    """Most of it goes to running requests, however short it is."""
    notice = min(MOST_NOTICE_SECONDS, total_seconds // 4)
    margin = min(MOST_MARGIN_SECONDS, total_seconds // 4)
    return Grace(total_seconds, notice, total_seconds - notice - margin, margin)


def pre_stop(grace: Grace) -> dict[str, object]:
    """The container's lifecycle."""
    if grace.notice_seconds == 0:
        return {}
    return {"lifecycle": {"preStop": {"sleep": {"seconds": grace.notice_seconds}}}}
