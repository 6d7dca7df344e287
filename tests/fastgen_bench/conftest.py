"""A server of known delays for each test that asks for one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp.test_utils import TestServer
from steady_server import SteadyServer


@pytest.fixture
async def steady() -> AsyncIterator[SteadyServer]:
    behaviour = SteadyServer()
    server = TestServer(behaviour.app())
    await server.start_server()
    behaviour.url = str(server.make_url("/"))
    yield behaviour
    await server.close()
