"""A cluster of the chart's own: nobody else's operator, and nobody else's CustomResourceDefinition."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from chart_tools import SYSTEM

from fastgen_devcluster.binaries import assets
from fastgen_devcluster.cluster import ClusterOptions, DevCluster, running

ROOT = Path(__file__).parents[3]
RENDERED = "rendered"
"""Where objects are judged and never made."""
WATCHED = ("team-a", "team-b")


@pytest.fixture(scope="session")
def cluster() -> Iterator[DevCluster]:
    """With the Prometheus operator's kinds, and namespaces that refuse pods which are not "restricted"."""
    options = ClusterOptions(
        name=f"chart-{os.getpid()}",
        nodes=1,
        host_paths={"/var/lib/fastgen/models": ROOT / "examples" / "models"},
        prometheus_config=ROOT / "examples" / "prometheus.yaml",
    )
    with running(options) as found:
        monitoring = assets.obtain("prometheus-operator-crds")
        found.kubectl("apply", "--server-side", "--filename", str(monitoring))
        for name in (SYSTEM, RENDERED, *WATCHED):
            labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
            namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
            found.kubectl("apply", "--filename", "-", input=json.dumps(namespace))
        yield found
