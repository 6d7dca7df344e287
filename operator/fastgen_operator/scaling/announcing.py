"""What people are told when the autoscaler changes something, or cannot see any more. Pure."""

from __future__ import annotations

from typing import Literal, NamedTuple

from fastgen_operator.autoscaler import Decision


class Announcement(NamedTuple):
    """One event of Kubernetes, and one line of the log."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


def announcement(decision: Decision, previous_replicas: int, *, active: bool) -> Announcement:
    """`previous_replicas`: what was asked for before; the same as the decision's where only knowledge changed."""
    is_same = decision.replicas == previous_replicas
    if is_same and not decision.is_informed:
        return Announcement("Warning", decision.reason, f"the autoscaler cannot see: {decision.message}")
    if is_same:
        return Announcement("Normal", "MetricsSeen", f"the autoscaler sees again: {decision.message}")
    what = f"from {previous_replicas} to {decision.replicas} replicas: {decision.message}"
    if not active:
        return Announcement("Normal", "Advisory", f"would scale {what} ({decision.reason})")
    is_up = decision.replicas > previous_replicas
    return Announcement("Normal", "ScaledUp" if is_up else "ScaledDown", f"{what} ({decision.reason})")
