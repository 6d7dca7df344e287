"""One cluster for the whole test run: a real API server, scheduler, controllers and Prometheus, nodes whose pods are
processes, and the operator as its chart installs it. A namespace for each test."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_namespace import Namespace, a_namespace, api_client
from cluster_operator import Operator, installed
from cluster_report import report_of
from kubernetes.dynamic import DynamicClient

from fastgen_devcluster.cluster import ClusterOptions, DevCluster, running

ROOT = Path(__file__).parents[2]
REPORT = pytest.StashKey[str]()
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def cluster() -> Iterator[DevCluster]:
    options = ClusterOptions(
        name=f"tests-{os.getpid()}",
        nodes=2,
        host_paths={"/var/lib/fastgen/models": ROOT / "examples" / "models"},
        prometheus_config=ROOT / "examples" / "prometheus.yaml",
    )
    with running(options) as found:
        yield found


@pytest.fixture(scope="session")
def api(cluster: DevCluster) -> Iterator[DynamicClient]:
    with api_client(cluster) as found:
        yield found


@pytest.fixture(scope="session")
def operator(cluster: DevCluster, api: DynamicClient) -> Iterator[Operator]:
    """The operator, ready. A test that does something to it leaves it ready."""
    with installed(cluster, api) as found:
        yield found


@pytest.fixture
def namespace(
    cluster: DevCluster, api: DynamicClient, operator: Operator, request: pytest.FixtureRequest
) -> Iterator[Namespace]:
    """A namespace for one test."""
    with a_namespace(cluster, api, _name_for(request)) as found:
        yield found


@pytest.fixture(scope="module")
def module_namespace(
    cluster: DevCluster, api: DynamicClient, operator: Operator, request: pytest.FixtureRequest
) -> Iterator[Namespace]:
    """A namespace for promises that are kept one after another by the same deployment."""
    with a_namespace(cluster, api, _name_for(request)) as found:
        yield found


def _name_for(request: pytest.FixtureRequest) -> str:
    """Tells which test it belongs to, and is like no other."""
    words = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-").removeprefix("test-")
    return f"{words[:40].strip('-')}-{next(_numbers)}"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """What the cluster looked like when a test failed."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    found = getattr(item, "funcargs", {})
    if report.failed and {"cluster", "operator"} & set(getattr(item, "fixturenames", ())):
        report.sections.append(("the cluster", report_of(found)))
