"""A control plane without nodes, and a process node that a test may end as it likes. A namespace for each test."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from played_node import PlayedNode, Pods

from fastgen_devcluster.cluster import ClusterOptions, DevCluster, running
from fastgen_devcluster.node.api import Api

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def control_plane() -> Iterator[DevCluster]:
    options = ClusterOptions(name=f"node-tests-{os.getpid()}", nodes=0, process_node=False, prometheus=False)
    with running(options) as found:
        yield found


@pytest.fixture(scope="session")
def node(control_plane: DevCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlayedNode]:
    """Running. A test that ends it starts it again."""
    found = PlayedNode(control_plane.kubeconfig, tmp_path_factory.mktemp("played"))
    found.start()
    yield found
    found.end()


@pytest.fixture
async def pods(control_plane: DevCluster, node: PlayedNode) -> AsyncIterator[Pods]:
    """A namespace of its own, with its service account there; all its pods go at the end."""
    async with Api(Path(control_plane.kubeconfig)) as api:
        found = Pods(api, f"test-{next(_numbers)}", node)
        await found.begin()
        yield found
        await found.end()
