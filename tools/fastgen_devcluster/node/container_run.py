"""One run of a container, from its start to its end: probes, hooks, limits, signals."""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
import signal
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from fastgen_devcluster.node import local_process, logs
from fastgen_devcluster.node.checks import Target, perform
from fastgen_devcluster.node.ending import Ending, first_of
from fastgen_devcluster.node.limits import Limits, Processes, keep_cpu, keep_memory
from fastgen_devcluster.node.pod_parts import Launch, PodParts
from fastgen_devcluster.node.probing import Schedule, verdicts

LEAST_GRACE_SECONDS = 2.0
"""What a process has after SIGTERM at least, as a kubelet gives it, even where preStop took all of the grace period."""
LOG_LOOK_SECONDS = 10.0
CANNOT_START = 128
"""Exit code of a command that could not be started, as a runtime gives it."""

Show = Callable[..., None]
"""Changes the container's view: is_started, is_ready."""


class ContainerRun:
    """One run. Make it with the process running; `attend` until it has ended."""

    def __init__(self, spec: Mapping[str, Any], parts: PodParts, launch: Launch, identity: str, log: Path) -> None:
        """Starts the process. Raises OSError where it cannot be started."""
        self.is_out_of_memory = False
        self._spec = spec
        self._parts = parts
        self._launch = launch
        self._log = log
        self._limits = Limits.of(spec)
        self._unwell: asyncio.Future[tuple[str, float]] = asyncio.get_running_loop().create_future()
        """Why it is to be ended though its pod goes on, and the grace period in seconds."""
        self._is_started = asyncio.Event()
        self._mark = parts.mark(identity)
        self._group = parts.control_group(identity, self._limits)
        self._processes = Processes(self._mark, self._group)
        try:
            self._process = self._start(launch.command, log, self._mark)
        except OSError:
            parts.discard(self._group)
            raise
        ports = {port["name"]: port["containerPort"] for port in spec.get("ports", ()) if "name" in port}
        self._target = Target(parts.known.addresses.pod_ip, ports, self._command)

    async def attend(self, ending: Ending, show: Show) -> int:
        """Watch over it until it has ended, and all its processes with it. The main process' exit code."""
        exited = asyncio.ensure_future(self._process.wait())
        asked = asyncio.ensure_future(ending.asked())
        always = [asyncio.create_task(work) for work in self._keeping(show)]
        while_wanted = asyncio.create_task(self._stay_well(show))
        try:
            await first_of(exited, asked, self._unwell)
            if not exited.done():
                while_wanted.cancel()
                await self._end(exited, ending)
            return await exited
        finally:
            tasks = (asked, while_wanted, *always)
            for task in tasks:
                task.cancel()
            self._process.kill_all()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._parts.release(self._group)

    def _start(self, command: Sequence[str], output: Path, mark: str) -> local_process.LocalProcess:
        return local_process.start(
            command,
            environment=self._launch.environment,
            folder=self._launch.working_folder,
            output=output,
            mark=mark,
            control_group=self._group,
        )

    def _keeping(self, show: Show) -> list[Coroutine[Any, Any, None]]:
        """What goes on until the process has ended: readiness also while it ends."""
        work: list[Coroutine[Any, Any, None]] = [self._keep_log(), self._show_readiness(show)]
        if self._limits.memory_bytes is not None:
            work.append(keep_memory(self._processes, self._limits.memory_bytes, self._out_of_memory))
        if self._limits.cpu_cores is not None and self._group is None:
            work.append(keep_cpu(self._processes, self._limits.cpu_cores))
        return work

    async def _keep_log(self) -> None:
        while True:
            await asyncio.sleep(LOG_LOOK_SECONDS)
            logs.bound(self._log)

    def _out_of_memory(self) -> None:
        self.is_out_of_memory = True
        self._process.kill_all()

    async def _show_readiness(self, show: Show) -> None:
        await self._is_started.wait()
        if "readinessProbe" not in self._spec:
            show(is_ready=True)
            return
        async for is_ready in self._verdicts("readiness"):
            show(is_ready=is_ready)

    async def _stay_well(self, show: Show) -> None:
        """What may end the run before its time: postStart, then the startup probe, then the liveness probe."""
        name = self._spec["name"]
        post_start = self._spec.get("lifecycle", {}).get("postStart")
        if post_start and not await self._hook("PostStart", post_start):
            self._end_run(f"FailedPostStartHook of container {name}", {})
            return
        for kind in ("startup", "liveness"):
            probe = self._spec.get(f"{kind}Probe")
            if probe is not None:
                async with contextlib.aclosing(self._verdicts(kind)) as verdicts_of_kind:
                    async for is_well in verdicts_of_kind:
                        if not is_well:
                            self._end_run(f"Container {name} failed {kind} probe, will be restarted", probe)
                            return
                        if kind == "startup":
                            break
            if kind == "startup":
                self._is_started.set()
                show(is_started=True)

    def _verdicts(self, kind: str) -> AsyncGenerator[bool, None]:
        probe = self._spec[f"{kind}Probe"]

        def report(message: str) -> None:
            self._emit("Warning", "Unhealthy", f"{kind.capitalize()} probe failed: {message}")

        return verdicts(Schedule.of(probe), lambda: perform(probe, self._target), report)

    def _end_run(self, why: str, probe: Mapping[str, Any]) -> None:
        pod_grace_seconds = self._parts.known.pod["spec"].get("terminationGracePeriodSeconds", 30)
        self._unwell.set_result((why, probe.get("terminationGracePeriodSeconds") or pod_grace_seconds))

    async def _end(self, exited: asyncio.Future[int], ending: Ending) -> None:
        """preStop, SIGTERM, and SIGKILL when the time is over."""
        loop = asyncio.get_running_loop()
        why, own_kill_at = f"Stopping container {self._spec['name']}", math.inf
        if self._unwell.done() and not ending.is_asked:
            why, grace_seconds = self._unwell.result()
            own_kill_at = loop.time() + grace_seconds
        self._emit("Normal", "Killing", why)
        hook = self._spec.get("lifecycle", {}).get("preStop")
        if hook and ending.has_hooks:
            work = asyncio.ensure_future(self._hook("PreStop", hook))
            either = asyncio.ensure_future(first_of(work, exited))
            await ending.in_time(either, lambda: min(own_kill_at, ending.kill_at))
            for task in (either, work):
                task.cancel()
            await asyncio.gather(either, work, return_exceptions=True)
        least = loop.time() + LEAST_GRACE_SECONDS
        self._process.signal(signal.SIGTERM)
        await ending.in_time(exited, lambda: max(least, min(own_kill_at, ending.kill_at)))
        self._process.kill_all()

    async def _hook(self, name: str, handler: Mapping[str, Any]) -> bool:
        result = await perform(handler, self._target)
        if not result.is_success:
            self._emit("Warning", f"Failed{name}Hook", f"{name}Hook failed: {result.message}")
        return result.is_success

    async def _command(self, command: Sequence[str]) -> tuple[int, str]:
        """Run `command` in the container, for a probe or a hook: its exit code and what it wrote."""
        identity = secrets.token_hex(4)
        output = self._launch.folder / f"exec-{identity}"
        mark = f"{self._mark}/{identity}"
        try:
            process = self._start([self._launch.substitutions.in_text(word) for word in command], output, mark)
            try:
                return await process.wait(), output.read_text(errors="replace")
            except asyncio.CancelledError:  # it took too long
                process.kill_all()
                raise
        except OSError as error:
            return CANNOT_START, f"{command[0]}: {error.strerror}"
        finally:
            output.unlink(missing_ok=True)

    def _emit(self, kind: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        self._parts.emit(kind, reason, message, self._spec["name"])
