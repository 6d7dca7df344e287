"""Keeps the processes of one deployment running: sees, decides (decisions.py), acts, writes down."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import assert_never

import yaml

from fastgen.errors import FastGenError
from fastgen.local_state import (
    DeploymentRecord,
    DeploymentState,
    StateLock,
    forget,
    process_start_ticks,
    record_path,
    write_atomically,
)
from fastgen_server.local import decisions
from fastgen_server.local.decisions import Finish, GiveUp, Kill, Slot, Start, Terminate
from fastgen_server.local.planning import LocalPlan, ProcessPlan, at_ports
from fastgen_server.local.processes import Addresses, Child, describe_status, log_tail

TICK_SECONDS = 0.1


class Supervisor:
    """Runs a plan until it is told to stop.

        supervisor = Supervisor(plan, notify=print)
        await supervisor.run()          # returns after `request_stop()`; raises FastGenError if it cannot start

    `notify` is told, in a line each, what a person would want to know.
    """

    def __init__(
        self,
        plan: LocalPlan,
        *,
        notify: Callable[[str], None] = lambda _: None,
        detached: bool = False,
    ) -> None:
        self.plan = plan
        self.slots: dict[str, Slot] = {p.name: Slot(p.name, p.role) for p in plan.processes}
        self.addresses: dict[str, Addresses] = {}
        """Of processes that are ready, by name."""
        self._notify = notify
        self._children: dict[str, Child] = {}
        self._stopping = False
        self._at_once = False
        self._wake = asyncio.Event()
        self._disk_failed = False
        self._published: list[dict[str, str]] | None = None
        self._recorded: DeploymentRecord | None = None
        self._record = DeploymentRecord(
            name=plan.deployment.name,
            model=plan.deployment.spec.model.source,
            pid=os.getpid(),
            started_ticks=process_start_ticks(os.getpid()) or 0,
            started_unix_seconds=time.time(),
            replicas=len(plan.replicas),
            detached=detached,
        )

    @property
    def name(self) -> str:
        return self._record.name

    @property
    def model(self) -> str:
        return self._record.model

    @property
    def state(self) -> DeploymentState:
        """starting, ready, degraded (it was ready, and something is missing) or stopping."""
        if self._stopping:
            return "stopping"
        if all(slot.phase == "ready" for slot in self.slots.values()):
            return "ready"
        return "degraded" if self._record.state in ("ready", "degraded") else "starting"

    def request_stop(self) -> None:
        """Drain and end; asked a second time, end at once."""
        self._at_once = self._stopping
        self._stopping = True
        self._wake.set()

    def heard_from(self, name: str) -> None:
        """The process answered; without this, one that hangs is taken for dead after a while."""
        self.slots[name] = decisions.was_heard(self.slots[name], time.monotonic())

    async def run(self) -> None:
        """Keep everything running until `request_stop`. Raises FastGenError where it cannot be brought up."""
        folder = self.plan.folder
        lock = StateLock(folder)
        try:
            for path in folder.glob("*.log"):
                if path.name != "supervisor.log":  # where a detached supervisor's own output goes
                    path.unlink()
            forget(folder)
            self._write_manifest()
            self._publish_replicas()
            self._write_record()
            while not await self._tick():
                await self._pause()
        finally:
            for child in self._children.values():
                child.kill()
            forget(folder)
            lock.release()

    async def _pause(self) -> None:
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TICK_SECONDS):
                await self._wake.wait()

    async def _tick(self) -> bool:
        """See, decide, act, write down. True when all has ended."""
        now = time.monotonic()
        self._look(now)
        for action in decisions.decide(self.slots, now, stopping=self._stopping, at_once=self._at_once):
            if isinstance(action, Finish):
                return True
            self._act(action, now)
        self._publish_replicas()
        self._write_record()
        return False

    def _look(self, now: float) -> None:
        for name, child in list(self._children.items()):
            slot = self.slots[name]
            status = child.status()
            if status is not None:
                self._note_exit(slot, status, now)
            elif slot.phase == "starting":
                found = child.addresses()
                if found is not None:
                    self._note_ready(slot, found, now)

    def _note_ready(self, slot: Slot, found: Addresses, now: float) -> None:
        self.slots[slot.name] = decisions.became_ready(slot, now)
        self.addresses[slot.name] = found
        if slot.role == "balancer":
            self.plan = at_ports(self.plan, _port(found.http), _port(found.grpc))
        self._notify(f"{slot.name} is ready at http://{found.http} and grpc://{found.grpc}")

    def _note_exit(self, slot: Slot, status: int, now: float) -> None:
        self._children.pop(slot.name).kill()  # what it may have left behind
        self.addresses.pop(slot.name, None)
        after = decisions.exited(slot, now, status, stopping=self._stopping)
        self.slots[slot.name] = after
        if not self._stopping:
            wait = after.start_at - now
            self._notify(f"{slot.name} {describe_status(status)}; starting it again in {wait:g} s")
        elif status not in (0, -15):
            self._notify(f"{slot.name} {describe_status(status)} while it was stopping")

    def _act(self, action: Start | Terminate | Kill | GiveUp, now: float) -> None:
        match action:
            case Start(name):
                self._start(name, now)
            case Terminate(name):
                self._children[name].terminate()
                self.slots[name] = decisions.told_to_stop(self.slots[name], now)
            case Kill(name, reason):
                self._notify(f"{name} is killed: {reason}")
                self._children[name].kill()
            case GiveUp(name, reason):
                log = self.plan.folder / f"{name}.log"
                raise FastGenError(f"{name} cannot be brought up: {reason}. The end of {log}:\n{log_tail(log)}")
            case _:
                assert_never(action)

    def _start(self, name: str, now: float) -> None:
        try:
            child = Child(self._plan_of(name), self.plan.folder / f"{name}.log")
        except OSError as error:  # no memory for another process, no space for its log
            self.slots[name] = decisions.exited(self.slots[name], now, 1, stopping=False)
            self._notify(f"{name} cannot be started: {error}; trying again")
            return
        self._children[name] = child
        self.slots[name] = decisions.started(self.slots[name], child.pid)

    def _plan_of(self, name: str) -> ProcessPlan:
        return next(process for process in self.plan.processes if process.name == name)

    def _publish_replicas(self) -> None:
        """Tell the balancer who is there: it follows this file."""
        ready = [
            {"http": self.addresses[p.name].http, "grpc": self.addresses[p.name].grpc}
            for p in self.plan.replicas
            if p.name in self.addresses
        ]
        if ready != self._published:
            self._published = (
                ready if self._write(self.plan.replicas_file, json.dumps(ready, indent=1) + "\n") else None
            )

    def _write_record(self) -> None:
        balancer = self.addresses.get("balancer")
        record = dataclasses.replace(
            self._record,
            state=self.state,
            replicas_ready=sum(s.phase == "ready" for s in self.slots.values() if s.role == "replica"),
            http=balancer.http if balancer else self._record.http,
            grpc=balancer.grpc if balancer else self._record.grpc,
        )
        if record.state != self._record.state:
            self._notify(f"{record.name} is {record.state}")
        self._record = record
        if record != self._recorded:
            self._recorded = record if self._write(record_path(self.plan.folder), record.to_json()) else None

    def _write(self, path: Path, text: str) -> bool:
        """Whether it worked. A full disk must not end what serves; the next tick tries again."""
        try:
            write_atomically(path, text)
        except OSError as error:
            if not self._disk_failed:
                self._notify(f"{path} cannot be written ({error.strerror}); serving goes on, trying again")
            self._disk_failed = True
            return False
        self._disk_failed = False
        return True

    def _write_manifest(self) -> None:
        text = yaml.safe_dump(self.plan.deployment.to_manifest(), sort_keys=False)
        self._write(self.plan.folder / "manifest.yaml", text)


def _port(address: str) -> int:
    return int(address.rsplit(":", 1)[1])
