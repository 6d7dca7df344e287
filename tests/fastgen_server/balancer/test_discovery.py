"""Where replicas come from: words on the command line, a file that changes, pods of an API server."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from waiting import eventually_async

from fastgen.errors import UsageError
from fastgen_server.balancer.config import BalancerConfig
from fastgen_server.balancer.discovery import make_discovery, pods
from fastgen_server.balancer.discovery.base import parse_replica
from fastgen_server.balancer.discovery.file import FileDiscovery
from fastgen_server.balancer.discovery.pods import PodDiscovery, replica_of
from fastgen_server.balancer.pool import Discovered
from fastgen_server.balancer.replica import ReplicaAddress


def test_replica_flags() -> None:
    assert parse_replica("http=h:1,grpc=h:2,name=r") == ReplicaAddress("h:1", "h:2", "r")
    assert parse_replica("h:1") == ReplicaAddress("h:1")
    assert parse_replica("http=[::1]:8000") == ReplicaAddress("[::1]:8000")


@pytest.mark.parametrize("wrong", ["", "h", "h:x", "h:0", "h:70000", ":80", "http=h:1,grcp=h:2", "grpc=h:2"])
def test_wrong_replica_flags_say_how_to_write_them(wrong: str) -> None:
    with pytest.raises(UsageError, match=r"host:port|HOST:PORT"):
        parse_replica(wrong)


def test_exactly_one_source() -> None:
    for config, replicas in (
        (BalancerConfig(), []),
        (BalancerConfig(replicas_file="f"), ["h:1"]),
        (BalancerConfig(pods_selector="a=b"), ["h:1"]),
    ):
        with pytest.raises(UsageError, match="one source"):
            make_discovery(config, replicas)
    with pytest.raises(UsageError, match="choose one"):
        BalancerConfig(replicas_file="f", pods_selector="a=b")


async def test_a_file_is_followed_and_half_a_file_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "replicas.json"
    lists: list[Sequence[Discovered]] = []
    following = asyncio.ensure_future(FileDiscovery(path).run(lists.append))
    try:
        await eventually_async(lambda: "No such file" in caplog.text)  # It may come later.
        text = json.dumps([{"http": "h:1", "grpc": "h:2", "name": "r0"}, {"http": "h:3", "draining": True}])
        path.write_text(text[:30])
        await eventually_async(lambda: "stays as it was" in caplog.text.split("No such file")[1])
        assert not lists
        path.write_text(text)
        await eventually_async(lambda: lists)
        assert lists[0] == [
            Discovered(ReplicaAddress("h:1", "h:2", "r0")),
            Discovered(ReplicaAddress("h:3"), draining=True),
        ]
        for wrong in ('{"http": "h:1"}', '[{"grpc": "h:1"}]', '[{"http": "h"}]', '[{"http": "h:1", "htpp": 1}]', ""):
            path.write_text(wrong)
            await asyncio.sleep(0)
        other = tmp_path / "new"
        other.write_text("[]")
        os.replace(other, path)
        await eventually_async(lambda: len(lists) == 2)
        assert lists[1] == []
    finally:
        following.cancel()


def pod(name: str, **changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": "1"},
        "spec": {"containers": [{"ports": [{"name": "http", "containerPort": 9000}]}]},
        "status": {"podIP": "10.0.0.7", "phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    }
    for key, value in changes.items():
        (made["metadata"] if key in ("deletionTimestamp", "resourceVersion") else made["status"])[key] = value
    return made


def test_what_a_pod_is_to_the_balancer() -> None:
    address = ReplicaAddress("10.0.0.7:9000", "10.0.0.7:8001", "p")
    assert replica_of(pod("p")) == Discovered(address)
    assert replica_of(pod("p", deletionTimestamp="2026-01-01T00:00:00Z")) == Discovered(address, draining=True)
    not_ready = [{"type": "Ready", "status": "False"}]
    assert replica_of(pod("p", conditions=not_ready)) is None
    assert replica_of(pod("p", conditions=not_ready, deletionTimestamp="now")) == Discovered(address, draining=True)
    assert replica_of(pod("p", podIP=None)) is None
    assert replica_of(pod("p", phase="Failed")) is None
    assert replica_of(pod("p", conditions=None)) is None
    ipv6 = replica_of(pod("p", podIP="fd00::7"))
    assert ipv6 is not None
    assert ipv6.address.http == "[fd00::7]:9000"
    assert replica_of({}) is None


class ApiServer:
    """Speaks the list and watch of pods, over real HTTP, and nothing else of Kubernetes."""

    def __init__(self) -> None:
        self.pods: list[dict[str, Any]] = []
        self.queries: list[dict[str, str]] = []
        self.events: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self.broken = False

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.queries.append(dict(request.query))
        if self.broken:
            return web.Response(status=500, text="etcd is away")
        if request.query.get("watch") not in ("true", "True"):
            return web.json_response({"kind": "PodList", "metadata": {"resourceVersion": "5"}, "items": self.pods})
        response = web.StreamResponse()
        await response.prepare(request)
        while (event := await self.events.get()) is not None:
            line = json.dumps(event).encode() + b"\n"
            await response.write(line[:20])  # Lines do not come in one piece.
            await response.write(line[20:])
        return response


@pytest.fixture
async def api_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ApiServer]:
    server = ApiServer()
    app = web.Application()
    app.router.add_get("/api/v1/namespaces/ns/pods", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{runner.addresses[0][1]}"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "ns"}}],
        "users": [{"name": "u", "user": {}}],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(path))
    from kubernetes.aio.config import kube_config

    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(path))
    yield server
    server.events.put_nowait(None)
    await runner.cleanup()


async def test_pods_are_watched_through_changes_expiry_and_outages(
    api_server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pods, "FIRST_BACKOFF_SECONDS", 0.05)
    lists: list[Sequence[Discovered]] = []
    api_server.pods = [pod("p")]
    watching = asyncio.ensure_future(PodDiscovery("app=x").run(lists.append))
    try:
        await eventually_async(lambda: lists)
        assert [entry.address.name for entry in lists[-1]] == ["p"]
        assert api_server.queries[0]["labelSelector"] == "app=x"

        big = pod("q", podIP="10.0.0.8")
        big["metadata"]["annotations"] = {"long": "x" * 200_000}
        api_server.events.put_nowait({"type": "ADDED", "object": big})
        await eventually_async(lambda: len(lists[-1]) == 2)
        api_server.events.put_nowait({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}})
        leaving = pod("p", deletionTimestamp="now", resourceVersion="10")
        api_server.events.put_nowait({"type": "MODIFIED", "object": leaving})
        await eventually_async(lambda: any(entry.draining for entry in lists[-1]))
        api_server.events.put_nowait({"type": "DELETED", "object": leaving})
        await eventually_async(lambda: [entry.address.name for entry in lists[-1]] == ["q"])

        # The version is too old: list again.
        api_server.pods = [pod("r")]
        api_server.events.put_nowait({"type": "ERROR", "object": {"code": 410, "message": "too old"}})
        api_server.events.put_nowait(None)
        await eventually_async(lambda: [entry.address.name for entry in lists[-1]] == ["r"])

        # The API server breaks: the list stays, and comes up to date afterwards.
        before, api_server.broken = len(lists), True
        asked = len(api_server.queries)
        api_server.events.put_nowait(None)
        await eventually_async(lambda: len(api_server.queries) >= asked + 2)
        assert len(lists) == before
        api_server.broken, api_server.pods = False, []
        await eventually_async(lambda: lists[-1] == [])
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
