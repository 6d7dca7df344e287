"""What the cluster has that objects depend on, and that may change while the operator runs."""

from __future__ import annotations

from dataclasses import dataclass

from fastgen_operator.desired import Images, Observed


@dataclass
class Facts:
    """Images are the operator's own version's; ServiceMonitors come and go with the Prometheus operator."""

    images: Images
    has_service_monitors: bool = False

    def observed(self) -> Observed:
        return Observed(self.images, self.has_service_monitors)
