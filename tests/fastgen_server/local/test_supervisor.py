"""The supervisor with real processes, real ports and real signals; stand-ins for what would load a model."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import stand_in
from waiting import eventually, eventually_async

from fastgen.contract.command_line import Listen
from fastgen.errors import FastGenError, UsageError
from fastgen.local_state import process_start_ticks, read_record
from fastgen_server.local import decisions
from fastgen_server.local import observer as observer_module
from fastgen_server.local import supervisor as supervisor_module
from fastgen_server.local.observer import Observer
from fastgen_server.local.planning import LocalPlan, Machine, plan_local
from fastgen_server.local.supervisor import Supervisor

MANIFEST = """
apiVersion: fastgen.dev/v1alpha1
kind: FastGenDeployment
metadata: {name: llama}
spec: {model: {source: "hf://org/model"}, replicas: 2}
"""


def plan_of(folder: Path, *, replica: str = "ready", balancer: str = "ready") -> LocalPlan:
    from fastgen.contract import load_manifest

    plan = plan_local(
        load_manifest(MANIFEST),
        folder=folder / "llama",
        manifest_folder=folder,
        machine=Machine((), 2),
        listen=Listen("127.0.0.1", 0, 0),
    )
    program = (sys.executable, stand_in.__file__, "--mode")
    return dataclasses.replace(
        plan,
        replicas=tuple(dataclasses.replace(r, program=(*program, replica)) for r in plan.replicas),
        balancer=dataclasses.replace(plan.balancer, program=(*program, balancer)),
    )


@contextlib.asynccontextmanager
async def running(plan: LocalPlan, said: list[str] | None = None) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(plan, notify=(said if said is not None else []).append)
    task = asyncio.create_task(supervisor.run())
    try:
        await eventually_async(lambda: supervisor.state == "ready" or task.done())
        yield supervisor
        if not task.done():
            supervisor.request_stop()
        await asyncio.wait_for(task, 20)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, FastGenError):
            await task


def published(plan: LocalPlan) -> list[str]:
    return [entry["http"] for entry in json.loads(plan.replicas_file.read_text())]


async def test_it_brings_everything_up_and_ends_it(tmp_path: Path) -> None:
    plan, said = plan_of(tmp_path), list[str]()
    async with running(plan, said) as supervisor:
        pids = [slot.pid for slot in supervisor.slots.values()]
        record = read_record(plan.folder)
        assert record is not None
        assert (record.state, record.replicas_ready, record.pid) == ("ready", 2, os.getpid())
        assert record.http == supervisor.addresses["balancer"].http
        assert published(plan) == [supervisor.addresses[name].http for name in ("replica-0", "replica-1")]
        assert (plan.folder / "manifest.yaml").read_text().startswith("apiVersion")
    assert "llama is ready" in said
    assert all(pid is not None and process_start_ticks(pid) is None for pid in pids)
    assert read_record(plan.folder) is None
    assert (plan.folder / "replica-0.log").exists()


async def test_a_killed_replica_leaves_the_balancers_list_at_once_and_comes_back(tmp_path: Path) -> None:
    plan, said = plan_of(tmp_path), list[str]()
    async with running(plan, said) as supervisor:
        victim, port = supervisor.slots["replica-0"].pid, supervisor.addresses["balancer"].http
        gone = supervisor.addresses["replica-0"].http
        assert victim is not None
        os.kill(victim, signal.SIGKILL)
        await eventually_async(lambda: gone not in published(plan))
        assert supervisor.state == "degraded"
        await eventually_async(lambda: supervisor.state == "ready")
        assert supervisor.slots["replica-0"].pid != victim
        assert supervisor.slots["replica-0"].restarts == 1
        assert supervisor.addresses["balancer"].http == port
        assert "replica-0 was killed by SIGKILL; starting it again in 1 s" in said


async def test_a_killed_replicas_own_children_go_with_it(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, replica="child")
    async with running(plan) as supervisor:
        victim = supervisor.slots["replica-0"].pid
        child = int((plan.folder / "replica-0.address.child").read_text())
        assert victim is not None
        assert process_start_ticks(child) is not None
        os.kill(victim, signal.SIGKILL)
        await eventually_async(lambda: process_start_ticks(child) is None)


async def test_what_cannot_start_ends_with_the_end_of_its_log(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, replica="refused")
    with pytest.raises(
        FastGenError, match=r"replica-\d cannot be brought up: it was refused(?s:.*)this one is refused"
    ):
        async with running(plan):
            pass
    assert read_record(plan.folder) is None


async def test_a_second_stop_does_not_wait_for_the_stubborn(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, replica="stubborn")
    async with running(plan) as supervisor:
        pid = supervisor.slots["replica-1"].pid
        supervisor.request_stop()
        await eventually_async(lambda: supervisor.slots["replica-1"].phase == "stopping")
        assert pid is not None
        assert process_start_ticks(pid) is not None
        supervisor.request_stop()
        await eventually_async(lambda: process_start_ticks(pid) is None)


async def test_a_name_runs_only_once(tmp_path: Path) -> None:
    async with running(plan_of(tmp_path)):
        with pytest.raises(UsageError, match="'llama' is running already"):
            await Supervisor(plan_of(tmp_path)).run()


async def test_the_observer_reads_replicas_and_reports_who_answers(tmp_path: Path) -> None:
    import aiohttp

    async with running(plan_of(tmp_path)) as supervisor, aiohttp.ClientSession() as session:
        observer = Observer(supervisor)
        before = supervisor.slots["replica-0"].heard_at
        await observer.look(session)
        assert [row.running for row in observer.snapshot().replicas] == [3, 3]
        assert supervisor.slots["replica-0"].heard_at > before


async def test_one_that_hangs_is_started_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "SILENT_SECONDS", 0.5)
    monkeypatch.setattr(observer_module, "INTERVAL_SECONDS", 0.05)
    plan, said = plan_of(tmp_path), list[str]()
    async with running(plan, said) as supervisor:
        watching = asyncio.create_task(Observer(supervisor).run())
        victim = supervisor.slots["replica-1"].pid
        assert victim is not None
        await eventually_async(lambda: supervisor.slots["replica-1"].heard_at > 0)
        os.kill(victim, signal.SIGSTOP)
        await eventually_async(lambda: process_start_ticks(victim) is None)
        await eventually_async(lambda: supervisor.state == "ready")
        assert "replica-1 is killed: it has not answered for 0.5 s" in said
        assert supervisor.slots["replica-0"].restarts == 0
        watching.cancel()


async def test_a_full_disk_does_not_end_what_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    plan, said = plan_of(tmp_path), list[str]()
    async with running(plan, said) as supervisor:
        with monkeypatch.context() as patched:
            patched.setattr(supervisor_module, "write_atomically", full)
            victim = supervisor.slots["replica-0"].pid
            assert victim is not None
            os.kill(victim, signal.SIGKILL)
            await eventually_async(lambda: supervisor.state == "degraded")
            await eventually_async(lambda: supervisor.state == "ready")
            assert sum("No space left on device" in line for line in said) == 1
        await eventually_async(lambda: supervisor.addresses["replica-0"].http in published(plan))


SUPERVISE = """
import asyncio, sys
from pathlib import Path
from test_supervisor import plan_of
from fastgen_server.local.supervisor import Supervisor
asyncio.run(Supervisor(plan_of(Path(sys.argv[1])), notify=lambda line: print(line, flush=True)).run())
"""


def test_children_die_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    folders = [str(Path(__file__).parent), str(Path(stand_in.__file__).parent)]
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISE, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(folders)},
        stdout=subprocess.DEVNULL,
    )
    folder = tmp_path / "llama"
    try:
        eventually(lambda: (record := read_record(folder)) is not None and record.state == "ready")
        children = [json.loads(path.read_text())["pid"] for path in folder.glob("*.address.json")]
        assert len(children) == 3
    finally:
        supervisor.kill()
        supervisor.wait()
    eventually(lambda: all(process_start_ticks(pid) is None for pid in children))
    stale = read_record(folder)
    assert stale is not None
    assert stale.state == "stale"
