"""Processes of this machine as containers: their ends, their limits, their probes, their logs."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc.aio
import pytest
from grpc_health.v1 import health, health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckResponse
from waiting import eventually_async

from fastgen_devcluster.node import local_process, logs
from fastgen_devcluster.node.addresses import AddressPool
from fastgen_devcluster.node.cgroups import ControlGroups
from fastgen_devcluster.node.checks import Target, perform
from fastgen_devcluster.node.limits import Processes, keep_cpu, keep_memory
from fastgen_devcluster.node.local_process import LocalProcess
from fastgen_devcluster.node.volumes import File, write_files

Start = Callable[..., LocalProcess]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts Python code with the mark MARK:1; nothing of it is left."""
    mark = f"{tmp_path}:1"

    def begin(code: str) -> LocalProcess:
        return local_process.start(
            [sys.executable, "-c", code],
            environment={"PATH": os.environ["PATH"]},
            folder=tmp_path,
            output=tmp_path / "log",
            mark=mark,
            control_group=None,
        )

    yield begin
    local_process.kill_marked(mark)


async def test_exit_codes_are_those_of_a_container_runtime(start: Start, tmp_path: Path) -> None:
    assert await start("print('said'); raise SystemExit(3)").wait() == 3
    assert (tmp_path / "log").read_text() == "said\n"
    process = start("import signal; signal.pause()")
    process.signal(signal.SIGTERM)
    assert await process.wait() == 143


async def test_sigterm_goes_to_the_main_process_and_the_kill_to_all(start: Start, tmp_path: Path) -> None:
    code = (
        "import subprocess, signal, time\n"
        "subprocess.Popen(['sleep', '60'], start_new_session=True)\n"
        "subprocess.Popen(['sleep', '61'])\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('heard', flush=True))\n"
        "print('here', flush=True)\n"
        "while True: time.sleep(1)\n"
    )
    process, log, mark = start(code), tmp_path / "log", f"{tmp_path}:1"
    await eventually_async(lambda: log.read_text() == "here\n")
    process.signal(signal.SIGTERM)
    await eventually_async(lambda: log.read_text() == "here\nheard\n")
    assert len(list(local_process.marked(mark))) == 3
    process.kill_all()
    assert await process.wait() == 137
    await eventually_async(lambda: not list(local_process.marked(mark)))


async def test_memory_over_the_limit_is_seen_in_children_too(start: Start, tmp_path: Path) -> None:
    hungry = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'x = bytes(1) * (80 << 20); input()'])"
    process = start(hungry.replace("input()", "import signal; signal.pause()"))
    processes = Processes(f"{tmp_path}:1", None)
    await asyncio.wait_for(keep_memory(processes, 60 << 20, process.kill_all), 20)
    assert await process.wait() == 137


async def test_cpu_without_control_groups_is_rationed_by_stopping(start: Start, tmp_path: Path) -> None:
    process = start("while True: pass")
    keeping = asyncio.create_task(keep_cpu(Processes(f"{tmp_path}:1", None), 0.25))
    await asyncio.sleep(0.5)
    before, began = _cpu_seconds(process.pid), asyncio.get_running_loop().time()
    await asyncio.sleep(2)  # the share of a span of time is what is measured
    share = (_cpu_seconds(process.pid) - before) / (asyncio.get_running_loop().time() - began)
    assert 0.02 < share < 0.4
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    process.signal(signal.SIGTERM)
    assert await process.wait() == 143


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_cpu_limit_is_a_quota_in_either_version_of_control_groups(tmp_path: Path) -> None:
    second = ControlGroups(tmp_path, is_version_2=True).make("a", 0.3)
    assert (second / "cpu.max").read_text() == "30000 100000"
    first = ControlGroups(tmp_path, is_version_2=False).make("b", 0.001)
    assert (first / "cpu.cfs_quota_us").read_text() == "1000"


async def _nothing(_: object) -> tuple[int, str]:
    return 0, ""


async def test_grpc_health_is_asked_as_a_kubelet_asks() -> None:
    server = grpc.aio.server()
    servicer = health.aio.HealthServicer()  # type: ignore[attr-defined]
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    target = Target("127.0.0.1", {}, _nothing)
    try:
        await servicer.set("model", HealthCheckResponse.SERVING)
        assert (await perform({"grpc": {"port": port, "service": "model"}}, target)).is_success
        await servicer.set("model", HealthCheckResponse.NOT_SERVING)
        assert "not SERVING" in (await perform({"grpc": {"port": port, "service": "model"}}, target)).message
        assert "NOT_FOUND" in (await perform({"grpc": {"port": port, "service": "other"}}, target)).message
    finally:
        await server.stop(None)
    assert "UNAVAILABLE" in (await perform({"grpc": {"port": port}}, target)).message


async def test_a_closed_port_fails_tcp_and_http(unused_tcp_port: int) -> None:
    target = Target("127.0.0.1", {"web": unused_tcp_port}, _nothing)
    for handler in ({"tcpSocket": {"port": "web"}}, {"httpGet": {"port": "web", "path": "/x"}}):
        result = await perform(handler, target)
        assert not result.is_success
        assert str(unused_tcp_port) in result.message


def test_two_nodes_on_one_machine_have_networks_of_their_own(tmp_path: Path) -> None:
    first, second = AddressPool(tmp_path, ["a", "b"]), AddressPool(tmp_path, ["a"])
    try:
        assert first.of_node["a"] != second.of_node["a"]
        assert first.of_node["b"].endswith(".2")
        taken = [first.take() for _ in range(252)]
        assert len({*taken, *first.of_node.values()}) == 254
        first.give_back(taken[0])
        assert first.take() == taken[0]
    finally:
        first.close()
        second.close()


def test_logs_are_bounded_and_old_runs_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MOST_BYTES", 10)
    log = logs.new_log(tmp_path, 0)
    with log.open("ab", buffering=0) as writer:
        writer.write(b"0123456789a")
        logs.bound(log)
        writer.write(b"b")
    assert log.read_text() == "b"
    assert (tmp_path / "0.log.1").read_text() == "0123456789a"
    for run in (1, 2):
        logs.new_log(tmp_path, run).write_text("x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.log", "2.log"]


def test_the_last_words_are_the_logs_only_where_policy_and_failure_say_so(tmp_path: Path) -> None:
    message, log = tmp_path / "message", tmp_path / "log"
    message.touch()
    log.write_text("\n".join(f"line {index}" for index in range(100)))
    fallback = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    assert logs.termination_message(fallback, message, log, 1).splitlines()[0] == "line 20"
    assert logs.termination_message(fallback, message, log, 0) == ""
    assert logs.termination_message({}, message, log, 1) == ""
    message.write_text("because")
    assert logs.termination_message(fallback, message, log, 1) == "because"


def test_a_folder_holds_exactly_the_files_given(tmp_path: Path) -> None:
    write_files(tmp_path, {"a": File(b"1"), "deep/b": File(b"2", 0o600)})
    assert (tmp_path / "deep" / "b").stat().st_mode & 0o777 == 0o600
    before = (tmp_path / "a").stat().st_ino
    write_files(tmp_path, {"a": File(b"1"), "c": File(b"3")})
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "c"]
    assert (tmp_path / "a").stat().st_ino == before, "what did not change is left alone"
