"""How many replicas there should be: signals in, a decision out. docs/autoscaling.md has the arithmetic.

Prometheus ──promql, prometheus_json──► Signals ──decide()──► Decision ──(elsewhere)──► the resource's `scale`
"""

from __future__ import annotations

from fastgen_operator.autoscaler.decision import Decision, Numbers, Rules, decide
from fastgen_operator.autoscaler.signals import Signals, Workload, read_signals
from fastgen_operator.autoscaler.state import State

__all__ = ["Decision", "Numbers", "Rules", "Signals", "State", "Workload", "decide", "read_signals"]
