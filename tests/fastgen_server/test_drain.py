"""SIGTERM to a real server process: not ready at once, running answers finish, new ones are refused, exit 0."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from waiting import eventually

SCRIPT = Path(__file__).parents[1] / "support" / "scripted_backend.py"
STREAM = {"prompt": "tokens=10 gap=0.1", "stream": True}
LONG_STREAM = {"prompt": "tokens=10000 gap=0.05", "stream": True}


class Server(NamedTuple):
    process: subprocess.Popen[str]
    http: str
    grpc: str
    address_file: Path


@contextmanager
def server(folder: Path, grace_seconds: float) -> Iterator[Server]:
    address_file = folder / "address.json"
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(address_file), str(grace_seconds)], stderr=subprocess.PIPE, text=True
    )
    try:
        eventually(lambda: address_file.exists() or process.poll() is not None, timeout_seconds=60)
        address = json.loads(address_file.read_text())
        assert address["pid"] == process.pid
        yield Server(process, f"http://{address['http']}", address["grpc"], address_file)
    finally:
        process.kill()
        process.communicate()


def lines_until(lines: Iterator[str], number: int) -> list[str]:
    """The next `number` lines that say something."""
    found: list[str] = []
    for line in lines:
        if line:
            found.append(line)
        if len(found) == number:
            break
    return found


def exit_code(server: Server) -> int:
    return server.process.wait(timeout=20)


def test_running_answers_finish_and_new_ones_are_refused(tmp_path: Path) -> None:
    with server(tmp_path, grace_seconds=30) as running, httpx.Client(base_url=running.http) as http:
        with grpc.insecure_channel(running.grpc) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            statuses = health.Watch(health_pb2.HealthCheckRequest(service=""))
            assert next(statuses).status == health_pb2.HealthCheckResponse.SERVING
            with http.stream("POST", "/v1/completions", json=STREAM) as response:
                lines = response.iter_lines()
                lines_until(lines, 1)
                os.kill(running.process.pid, signal.SIGTERM)
                assert next(statuses).status == health_pb2.HealthCheckResponse.NOT_SERVING
                statuses.cancel()
                ready = httpx.get(f"{running.http}/readyz")
                assert (ready.status_code, ready.text) == (503, "shutting down\n")
                assert httpx.get(f"{running.http}/healthz").status_code == 200
                refused = httpx.post(f"{running.http}/v1/completions", json={"prompt": "tokens=1"})
                assert refused.status_code == 503
                assert refused.headers["retry-after"] == "1"
                assert refused.json()["error"]["code"] == "shutting_down"
                rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        chunks: list[Any] = [json.loads(line.removeprefix("data: ")) for line in rest[:-1]]
        assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == "bcdefghij"
        assert exit_code(running) == 0
        assert not running.address_file.exists()


@pytest.mark.parametrize("how", ["the grace is over", "a second signal"])
def test_what_does_not_finish_in_time_ends_with_an_error_its_client_sees(tmp_path: Path, how: str) -> None:
    grace_seconds = 0.5 if how == "the grace is over" else 60
    with server(tmp_path, grace_seconds) as running, httpx.Client(base_url=running.http) as http:
        with http.stream("POST", "/v1/completions", json=LONG_STREAM) as response:
            lines = response.iter_lines()
            lines_until(lines, 1)
            started = time.monotonic()
            os.kill(running.process.pid, signal.SIGTERM)
            if how == "a second signal":
                eventually(lambda: httpx.get(f"{running.http}/readyz").status_code == 503)
                os.kill(running.process.pid, signal.SIGINT)
            rest = [line for line in lines if line]
        assert rest[-2] == "event: error"
        assert json.loads(rest[-1].removeprefix("data: "))["error"]["code"] == "shutting_down"
        assert exit_code(running) == 0
        assert time.monotonic() - started < 15
