"""Real processes, real signals: replicas that are killed, a balancer that is told to end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from waiting import eventually

FAKE_REPLICA = Path(__file__).parents[2] / "support" / "fake_replica.py"

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a process of this Python; all are gone at the end of the test."""
    running: list[subprocess.Popen[bytes]] = []
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "GRPC_VERBOSITY": "NONE"}

    def go(*arguments: str) -> subprocess.Popen[bytes]:
        running.append(subprocess.Popen([sys.executable, *arguments], env=environment))
        return running[-1]

    yield go
    for process in running:
        process.kill()
        process.wait()


def address_in(path: Path) -> dict[str, Any]:
    eventually(path.exists, 20)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


class Fleet:
    """Two replica processes and a balancer process that follows a file."""

    def __init__(self, start: Start, folder: Path, *options: str) -> None:
        self._start, self._folder = start, folder
        self.replicas = {name: self._replica(name) for name in ("a", "b")}
        self.addresses = {name: address_in(folder / f"{name}.json") for name in self.replicas}
        self.list_replicas("a", "b")
        words = ["balance", "--replicas-file", str(folder / "replicas.json"), "--host", "127.0.0.1"]
        words += ["--port", "0", "--grpc-port", "0", "--address-file", str(folder / "balancer.json")]
        words += ["--health-interval-seconds", "0.2", *options]
        self.balancer = start("-m", "fastgen_server", *words)
        address = address_in(folder / "balancer.json")
        assert address["pid"] == self.balancer.pid
        self.url, self.grpc = f"http://{address['http']}", address["grpc"]

    def _replica(self, name: str, *ports: str) -> subprocess.Popen[bytes]:
        return self._start(
            str(FAKE_REPLICA), "--name", name, "--address-file", str(self._folder / f"{name}.json"), *ports
        )

    def revive(self, name: str) -> None:
        """The same replica at the same addresses, as a restarted process is."""
        http, grpc_address = self.addresses[name]["http"], self.addresses[name]["grpc"]
        ports = ("--port", http.split(":")[1], "--grpc-port", grpc_address.split(":")[1])
        self.replicas[name] = self._replica(name, *ports)

    def list_replicas(self, *names: str) -> None:
        (self._folder / "replicas.json").write_text(json.dumps([self.addresses[name] for name in names]))

    def post(self, **orders: Any) -> tuple[int, str, bytes]:
        """Status, which replica answered, body."""
        request = urllib.request.Request(self.url + "/v1/completions", json.dumps(orders).encode(), method="POST")
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, response.headers["X-Replica"], response.read()
        except urllib.error.HTTPError as error:
            return error.code, "", error.read()

    def channel(self) -> Any:
        return grpc.insecure_channel(self.grpc)

    def metric(self, line: str) -> float:
        with urllib.request.urlopen(self.url + "/metrics", timeout=5) as response:
            samples = dict(sample.rsplit(" ", 1) for sample in response.read().decode().splitlines())
        return float(samples.get(line, 0))

    def in_flight(self, *names: str) -> float:
        return sum(self.metric(f'fastgen_balancer_in_flight_requests{{replica="{name}"}}') for name in names)

    def ready(self) -> float:
        return self.metric('fastgen_balancer_replicas{state="ready"}')


def in_threads(count: int, work: Callable[[], Any]) -> tuple[list[threading.Thread], list[Any]]:
    results: list[Any] = []
    threads = [threading.Thread(target=lambda: results.append(work())) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads, results


def test_a_replica_killed_in_the_middle_fails_no_request_that_had_not_begun(start: Start, tmp_path: Path) -> None:
    fleet = Fleet(start, tmp_path)
    eventually(lambda: fleet.ready() == 2)
    threads, results = in_threads(12, lambda: fleet.post(sleep=0.8))
    eventually(lambda: fleet.in_flight("a") == 6)
    fleet.replicas["a"].send_signal(signal.SIGKILL)
    for thread in threads:
        thread.join()
    assert [status for status, _, _ in results] == [200] * 12
    assert {replica for _, replica, _ in results} == {"b"}
    assert fleet.metric('fastgen_balancer_retries_total{reason="connection"}') == 6
    assert fleet.metric('fastgen_balancer_ejections_total{replica="a"}') == 1

    # It comes back at the same address and is given work again, by HTTP and by gRPC.
    fleet.revive("a")
    eventually(lambda: fleet.ready() == 2, 20)
    assert {fleet.post()[1] for _ in range(8)} == {"a", "b"}
    with fleet.channel() as channel:
        call = channel.unary_unary("/test.Echo/Unary")
        names = {dict(call.with_call(b"x", timeout=10)[1].initial_metadata())["x-replica"] for _ in range(8)}
    assert names == {"a", "b"}


@pytest.mark.slow
def test_grpc_calls_survive_a_kill_unless_they_had_begun(start: Start, tmp_path: Path) -> None:
    fleet = Fleet(start, tmp_path, "--policy", "RoundRobin")
    eventually(lambda: fleet.ready() == 2)
    with fleet.channel() as channel:
        hang = channel.unary_unary("/test.Echo/Hang")
        threads, results = in_threads(8, lambda: hang(b"0.8", timeout=20))
        eventually(lambda: fleet.in_flight("a") == 4)
        streams = [channel.unary_stream("/test.Echo/ServerStream")(b"[1000, 0.02, 0]", timeout=20) for _ in range(2)]
        begun = [next(stream) for stream in streams]
        fleet.replicas["a"].send_signal(signal.SIGKILL)
        for thread in threads:
            thread.join()
        assert results == [b"b"] * 8
        assert begun == [b"0"] * 2
        ends: list[Any] = []
        for stream in streams:
            try:
                ends.append(len([next(stream) for _ in range(60)]))
            except grpc.RpcError as error:
                ends.append(error.code())
            stream.cancel()
    assert sorted(ends, key=str) == [60, grpc.StatusCode.UNAVAILABLE]


@pytest.mark.slow
def test_with_every_replica_dead_requests_wait_for_a_restart(start: Start, tmp_path: Path) -> None:
    fleet = Fleet(start, tmp_path)
    fleet.list_replicas("a")
    eventually(lambda: fleet.ready() == 1)
    threads, results = in_threads(4, lambda: fleet.post(sleep=0.4))
    eventually(lambda: fleet.in_flight("a") == 4)
    fleet.replicas["a"].send_signal(signal.SIGKILL)
    eventually(lambda: fleet.metric("fastgen_balancer_held_requests") == 4)
    fleet.revive("a")
    for thread in threads:
        thread.join()
    assert [(status, replica) for status, replica, _ in results] == [(200, "a")] * 4


@pytest.mark.slow
def test_sigterm_is_not_ready_at_once_and_what_runs_finishes(start: Start, tmp_path: Path) -> None:
    fleet = Fleet(start, tmp_path, "--linger-seconds", "0.5")
    eventually(lambda: fleet.ready() == 2)
    threads, results = in_threads(2, lambda: fleet.post(sleep=1.5))
    with fleet.channel() as channel:
        call = channel.unary_unary("/test.Echo/Hang").future(b"1.5", timeout=20)
        eventually(lambda: fleet.in_flight("a", "b") == 3)
        fleet.balancer.send_signal(signal.SIGTERM)
        eventually(lambda: _status(fleet.url + "/readyz") == 503, 1)
        assert fleet.post()[0] == 200  # Lingering: whoever has not noticed yet is still served.
        assert call.result() in (b"a", b"b")
    for thread in threads:
        thread.join()
    assert [status for status, _, _ in results] == [200, 200]
    assert fleet.balancer.wait(timeout=5) == 0


@pytest.mark.slow
def test_the_grace_ends_what_does_not_finish(start: Start, tmp_path: Path) -> None:
    fleet = Fleet(start, tmp_path, "--grace-seconds", "0.3")
    eventually(lambda: fleet.ready() == 2)
    threads, _ = in_threads(1, lambda: _status(fleet.url + "/slow", body=b'{"sleep": 60}'))
    eventually(lambda: fleet.in_flight("a", "b") == 1)
    began = time.monotonic()
    fleet.balancer.send_signal(signal.SIGTERM)
    assert fleet.balancer.wait(timeout=10) == 0
    assert time.monotonic() - began < 5
    threads[0].join()


def _status(url: str, body: bytes | None = None) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body), timeout=10) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def test_a_port_that_is_taken_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        words = ["balance", "--replica", "127.0.0.1:1", "--host", "127.0.0.1", "--port", str(taken.getsockname()[1])]
        ended = subprocess.run(
            [sys.executable, "-m", "fastgen_server", *words], capture_output=True, text=True, timeout=60, check=False
        )
    assert ended.returncode == 1
    assert "--port 0 takes a free port" in ended.stderr
    assert "Traceback" not in ended.stderr
