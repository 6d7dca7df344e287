"""A server with a scripted engine behind real sockets, and ways to talk to it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import httpx
import pytest
from scripted_backend import Running, running_server

from fastgen.v1.generation_pb2_grpc import GenerationStub


@pytest.fixture
async def server() -> AsyncIterator[Running]:
    async with running_server() as running:
        yield running


@pytest.fixture
async def http(server: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.http, timeout=10) as client:
        yield client


@pytest.fixture
async def stub(server: Running) -> AsyncIterator[GenerationStub]:
    async with grpc.aio.insecure_channel(server.grpc) as channel:
        yield GenerationStub(channel)
