"""A cluster of the chart's own: nobody else's operator, and nobody else's CustomResourceDefinition."""

from __future__ import annotations

import contextlib
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
_OPEN = contextlib.ExitStack()
"""What runs."""


@pytest.fixture(scope="session")
def cluster() -> Iterator[DevCluster]:
    """With the Prometheus operator's kinds, and namespaces that refuse pods which are not "restricted"."""
    options = ClusterOptions(
        name=f"chart-{os.getpid()}",
        nodes=1,
        host_paths={"/var/lib/fastgen/models": ROOT / "examples" / "models"},
        prometheus_config=ROOT / "examples" / "prometheus.yaml",
    )
    with _OPEN:
        found = _OPEN.enter_context(running(options))
        monitoring = assets.obtain("prometheus-operator-crds")
        found.kubectl("apply", "--server-side", "--filename", str(monitoring))
        for name in (SYSTEM, RENDERED, *WATCHED):
            labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
            namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
            found.kubectl("apply", "--filename", "-", input=json.dumps(namespace))
        yield found


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """It ends with the last test of this folder, and leaves the machine to those that follow."""
    if nextitem is None or Path(__file__).parent not in nextitem.path.parents:
        _OPEN.close()
