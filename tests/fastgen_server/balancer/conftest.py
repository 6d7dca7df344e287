"""Two replicas of this process, as most tests here want them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from fake_replica import FakeReplica


@pytest.fixture
async def pair() -> AsyncIterator[tuple[FakeReplica, FakeReplica]]:
    async with FakeReplica("a") as a, FakeReplica("b") as b:
        yield a, b
