"""The process that owns a cluster: it starts everything, waits until it is ready, and ends it in the right order.

    python -m fastgen_devcluster.control_plane.supervisor FOLDER

FOLDER holds plan.json, and its lock is inherited from whoever made it. On its standard output it says what happens,
a JSON object a line, ending with {"ready": true} or {"error": "..."}. It ends on SIGTERM, and, where the plan names a
parent, when that process ends, however it does.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import selectors
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from fastgen.errors import FastGenError
from fastgen.local_state import process_start_ticks
from fastgen_devcluster import kwok
from fastgen_devcluster.api import Api
from fastgen_devcluster.control_plane import command_lines, components, control, readiness, rights
from fastgen_devcluster.control_plane.credentials import write_credentials
from fastgen_devcluster.control_plane.plan import Plan
from fastgen_devcluster.control_plane.running import RunningComponent
from fastgen_devcluster.errors import DevClusterError
from fastgen_devcluster.ports import LOOPBACK, PortClaim, claim_port
from fastgen_devcluster.processes import kill_processes_of
from fastgen_devcluster.state import ClusterFolder, ClusterRecord, ProcessId

log = logging.getLogger("supervisor")

LOOK_SECONDS = 0.05
PORTS = ("etcd", "etcd-peer", "kube-apiserver", components.PROMETHEUS, components.PROXY)


class StopRequested(Exception):
    """Whoever started the cluster wants it to end, or is gone."""


class Supervisor:
    """See the module."""

    def __init__(self, folder: ClusterFolder, plan: Plan, say: Callable[[str], None]) -> None:
        self.folder = folder
        self.plan = plan
        self._say = say
        self._stop_requested = False
        self._began = time.monotonic()
        self._ports: dict[str, PortClaim] = {name: claim_port() for name in PORTS}
        self.record = ClusterRecord(
            name=plan.options.name,
            supervisor=ProcessId(os.getpid(), process_start_ticks(os.getpid()) or 0),
            server=f"https://{LOOPBACK}:{self.port('kube-apiserver')}",
            prometheus_url=f"http://{LOOPBACK}:{self.port(components.PROMETHEUS)}" if plan.options.prometheus else "",
            proxy_url=f"http://{LOOPBACK}:{self.port(components.PROXY)}",
            binaries={name: str(path) for name, path in plan.binaries.items()},
        )
        credentials = write_credentials(folder, cluster=plan.options.name, server_url=self.record.server)
        audit_policy = folder.path / "audit-policy.yaml"
        audit_policy.write_text(command_lines.AUDIT_POLICY)
        self.site = command_lines.Site(
            folder=folder.path,
            binaries=plan.binaries,
            ports={name: claim.port for name, claim in self._ports.items()},
            credentials=credentials,
            audit_policy=audit_policy,
            audit_log=folder.audit_log,
        )
        self.api = Api(
            self.record.server,
            authority=credentials.authority,
            certificate=credentials.admin.certificate,
            key=credentials.admin.key,
        )
        self.running: dict[str, RunningComponent] = {}
        self._noted: set[str] = set()

    def port(self, component: str) -> int:
        return self._ports[component].port

    def request_stop(self, *_: object) -> None:
        self._stop_requested = True

    # -- starting ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Everything up and ready. Raises DevClusterError with the reason, or StopRequested."""
        etcd, api_server, *controllers = components.core_components(self.site)
        self._launch(etcd)
        self._launch(api_server)
        self._wait_ready(api_server.name, self.running.values())
        rights.grant(self.api)
        self._make_played_nodes()
        others = (*controllers, *components.further_components(self.site, self.plan.options))
        for component in others:
            self._launch(component)
        for component in others:
            self._wait_ready(component.name, self.running.values())
        self._write_record(state="running")

    def _make_played_nodes(self) -> None:
        """Nodes that kwok plays; where pods can really run, only those go there that ask for it."""
        options = self.plan.options
        tainted = options.process_node and options.nodes > 0
        kwok.create_nodes(self.api, options.kwok_nodes, gpus=options.gpus_per_node, tainted=tainted)

    def _launch(self, component: components.Component) -> None:
        running = self.running.setdefault(component.name, RunningComponent(component, self.folder))
        running.start()
        self._write_record()

    def _wait_ready(self, name: str, must_live: Iterable[RunningComponent]) -> None:
        """Until it is ready, while `must_live` do, and nobody wants to stop. (Without a check, who runs is ready.)"""
        check = self._checks().get(name)
        if check is None:
            return
        began, patience_seconds = time.monotonic(), self.plan.options.ready_seconds
        while (reason := check()) is not None:
            if self._should_stop():
                raise StopRequested
            for running in must_live:
                running.check_alive()
            if time.monotonic() - began > patience_seconds:
                raise DevClusterError(f"{name} did not become ready within {patience_seconds:g} s: {reason}")
            time.sleep(LOOK_SECONDS)
        log.info("%s: ready", name)
        self._say(f"{name} is ready ({time.monotonic() - self._began:.1f} s)")

    def _should_stop(self) -> bool:
        parent = self.plan.parent
        return self._stop_requested or (parent is not None and not parent.is_alive())

    def _write_record(self, **changes: Any) -> None:
        processes = {name: running.process_id() for name, running in self.running.items()}
        self.record = ClusterRecord(**{**vars(self.record), "processes": processes, **changes})
        self.folder.write_record(self.record)

    # -- while it runs ----------------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Do what `control` asks, until somebody wants the cluster to end."""
        with contextlib.ExitStack() as stack:
            selector = stack.enter_context(selectors.DefaultSelector())
            listener = stack.enter_context(control.listen(self.folder))
            signals = stack.enter_context(_wake_up_on_signals())
            selector.register(listener, selectors.EVENT_READ)
            selector.register(signals, selectors.EVENT_READ)
            if self.plan.parent is not None and self.plan.parent.is_alive():
                selector.register(stack.enter_context(_process_handle(self.plan.parent.pid)), selectors.EVENT_READ)
            while not self._should_stop():
                for key, _ in selector.select():
                    if key.fileobj is listener:
                        control.answer(listener, self._control)
                    elif key.fileobj == signals:
                        os.read(signals, 64)
                        self._note_ends()

    def _note_ends(self) -> None:
        """A component that died stays dead, as a person has to see it; `status` shows it, and this says it once."""
        for running in self.running.values():
            if running.name not in self._noted and (ended := running.how_it_ended()):
                self._noted.add(running.name)
                log.warning("%s %s", running.name, ended)

    def _control(self, request: control.Request) -> None:
        log.info("%s %s", request.action, request.component)
        running = self.running.get(request.component)
        if running is None:
            raise DevClusterError(
                f"the cluster has no component '{request.component}'; it has: {', '.join(self.running)}"
            )
        if request.action in ("stop", "restart"):
            running.stop()
        if request.action in ("start", "restart"):
            running.start()
            self._noted.discard(running.name)
            self._wait_ready(running.name, [running])
        self._write_record()

    def _checks(self) -> dict[str, Callable[[], str | None]]:
        return {
            "kube-apiserver": lambda: readiness.api_server(self.api),
            "kube-controller-manager": lambda: readiness.controllers(self.api),
            components.PROXY: lambda: readiness.http_ok(f"{self.record.proxy_url}/readyz"),
            components.PROMETHEUS: lambda: readiness.http_ok(f"{self.record.prometheus_url}/-/ready"),
            "process-node": lambda: readiness.nodes(self.api, self.plan.options.node_names),
            components.KWOK: lambda: readiness.nodes(self.api, kwok.node_names(self.plan.options.kwok_nodes)),
        }

    # -- the end ----------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """End everything, in the reverse order of the start, and remove the folder."""
        with contextlib.suppress(OSError):  # a full disk is no reason to leave anything running
            self._write_record(state="stopping")
        for running in reversed(self.running.values()):
            went = running.stop()
            log.info("%s: %s", running.name, "ended" if went else "had to be killed")
        kill_processes_of(self.folder.path)
        keep = self.plan.options.keep_logs_in
        if keep is not None:
            with contextlib.suppress(OSError, shutil.Error):
                shutil.copytree(self.folder.logs, keep, dirs_exist_ok=True)
        shutil.rmtree(self.folder.path, ignore_errors=True)


@contextlib.contextmanager
def _process_handle(pid: int) -> Iterator[int]:
    handle = os.pidfd_open(pid)
    try:
        yield handle
    finally:
        os.close(handle)


@contextlib.contextmanager
def _wake_up_on_signals() -> Iterator[int]:
    """A descriptor that becomes readable when a signal has come, so that waiting ends."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    before = signal.set_wakeup_fd(write)
    try:
        yield read
    finally:
        signal.set_wakeup_fd(before)
        os.close(read)
        os.close(write)


def _tell(**message: object) -> None:
    with contextlib.suppress(OSError):  # whoever listened has gone; the cluster's end is decided elsewhere
        print(json.dumps(message), flush=True)


def main() -> int:
    """0 after an ordered end, 1 where the cluster could not start."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    folder = ClusterFolder(Path(sys.argv[1]))
    plan = Plan.from_json(folder.plan.read_text())
    supervisor = Supervisor(folder, plan, say=lambda text: _tell(progress=text))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, supervisor.request_stop)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # with a handler, it wakes up `serve`
    try:
        supervisor.start()
        _tell(ready=True)
        _detach_output()
        supervisor.serve()
    except StopRequested:
        pass
    except (FastGenError, OSError) as error:
        log.error("%s", error)
        _tell(error=str(error))
        return 1
    finally:
        supervisor.stop()
    return 0


def _detach_output() -> None:
    """Let go of the pipe on standard output, so that whoever reads it sees its end."""
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
