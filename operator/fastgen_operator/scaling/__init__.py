"""The autoscaler's hands and eyes: it asks Prometheus, lets autoscaler.decide() judge, and writes `scale`.

         ┌─ Prometheus ◄─ PrometheusClient
Scaler ──┼─ decide() (autoscaler/, pure)
         └─ ScaleWriter ─► the resource's `scale`, and nothing else
"""

from __future__ import annotations

from fastgen_operator.scaling.announcing import Announcement, announcement
from fastgen_operator.scaling.metrics import ScalingMetrics
from fastgen_operator.scaling.prometheus import PrometheusClient, PrometheusError
from fastgen_operator.scaling.scale import ScaleChanged, ScaleWriter
from fastgen_operator.scaling.scaler import DeploymentsView, Scaler

__all__ = [
    "Announcement",
    "DeploymentsView",
    "PrometheusClient",
    "PrometheusError",
    "ScaleChanged",
    "ScaleWriter",
    "Scaler",
    "ScalingMetrics",
    "announcement",
]
