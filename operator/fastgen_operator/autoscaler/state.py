"""What the autoscaler remembers between two looks. Small, frozen, and rebuilt from `status` after a restart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from fastgen.contract.status import AutoscalingStatus


class Recommendation(NamedTuple):
    """How many replicas one look wanted, before windows and policies."""

    at_seconds: float
    replicas: int


class Change(NamedTuple):
    """A change of `scale` that was made."""

    at_seconds: float
    delta: int


@dataclass(frozen=True)
class State:
    """Memory of one deployment's autoscaler. Times are those given to `decide` as `now`, in seconds."""

    capacity_factor: float = 1.0
    """What was seen under load, divided by what replicas measured when they started."""

    measured_tokens_per_second: float | None = None
    """The measurement that the factor corrects: another one, after a rollout, starts again at 1."""

    seen_tokens_per_second: float | None = None
    """Capacity of one replica where nothing was measured: what it did when it began to miss the promise."""

    calibration: float = 1.0
    """Tokens that replicas count for each token that balancers estimate."""

    lowered_at_seconds: float | None = None
    """When the factor was last lowered."""

    raised_at_seconds: float | None = None
    """When the factor last grew a step."""

    ready: int = 0
    """Ready replicas at the last look."""

    settled_since_seconds: float | None = None
    """Since when the ready replicas are the same ones in number and the demand fits them: promises that are missed
    long after that are missed for want of capacity, not because of what was before."""

    recommendations: tuple[Recommendation, ...] = ()
    """Oldest first, without gaps: one longer than `behavior.MAX_GAP_SECONDS` forgets what was before."""

    changes: tuple[Change, ...] = ()
    """Oldest first."""

    @classmethod
    def restored(cls, status: AutoscalingStatus | None) -> State:
        """What a restarted operator still knows. The windows begin anew, so nothing is taken away too early."""
        try:
            factor = float(status.capacity_factor) if status is not None and status.capacity_factor else 1.0
        except ValueError:  # Somebody wrote into our status; the measurement itself is a good start.
            factor = 1.0
        return cls(capacity_factor=factor if 0.0 < factor < 100.0 else 1.0)
