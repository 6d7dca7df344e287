"""Keeping a container to its limits: memory by looking and killing, CPU by its control group, or by stopping it now and
then.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fastgen.contract.quantities import parse_quantity
from fastgen_devcluster.node.cgroups import members
from fastgen_devcluster.node.local_process import marked

LOOK_SECONDS = 0.5
"""How often memory is looked at."""
SCANS = 4
"""Without a control group, finding a container's processes costs a walk through /proc: only every so many looks."""
TURN_SECONDS = 0.05
"""How often a container without a control group is stopped or continued."""
MOST_SAVED_SECONDS = 0.1
"""CPU time that an idle container saves up at most, as within one period of a control group."""


class Limits(NamedTuple):
    """None where there is no limit."""

    cpu_cores: float | None
    memory_bytes: int | None

    @classmethod
    def of(cls, container: Mapping[str, Any]) -> Limits:
        limits = container.get("resources", {}).get("limits", {})
        cpu, memory = limits.get("cpu"), limits.get("memory")
        return cls(
            None if cpu is None else float(parse_quantity(cpu)), None if memory is None else int(parse_quantity(memory))
        )


class Processes:
    """The processes of one container."""

    def __init__(self, mark: str, group: Path | None) -> None:
        self._mark = mark
        self._group = group
        self._known: list[int] = []
        self._looks = 0

    def pids(self) -> list[int]:
        if self._group is not None:
            return members(self._group)
        if self._looks % SCANS == 0 or not self._known:
            self._known = list(marked(self._mark))
        self._looks += 1
        return self._known


async def keep_memory(processes: Processes, limit_bytes: int, kill: Callable[[], None]) -> None:
    """Look until the container has more than `limit_bytes`, then `kill` and return."""
    while True:
        pids = processes.pids()
        # Pages shared after a fork count once for each process in the cheap sum, and once at all in the exact one.
        if _resident_bytes(pids) > limit_bytes and _exact_bytes(pids) > limit_bytes:
            kill()
            return
        await asyncio.sleep(LOOK_SECONDS)


async def keep_cpu(processes: Processes, limit_cores: float) -> None:
    """Stop and continue the container's processes so that they use `limit_cores` on average."""
    loop = asyncio.get_running_loop()
    saved, used, at, is_stopped = MOST_SAVED_SECONDS * limit_cores, 0.0, loop.time(), False
    try:
        while True:
            pids = processes.pids()
            used_now, now = _cpu_seconds(pids), loop.time()
            saved += limit_cores * (now - at) - max(0.0, used_now - used)
            saved = min(saved, MOST_SAVED_SECONDS * limit_cores)
            used, at = used_now, now
            if (saved < 0) != is_stopped:
                is_stopped = not is_stopped
                _signal(pids, signal.SIGSTOP if is_stopped else signal.SIGCONT)
            await asyncio.sleep(TURN_SECONDS)
    finally:  # what is to end must hear of it
        _signal(processes.pids(), signal.SIGCONT)


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _resident_bytes(pids: Iterable[int]) -> int:
    """Memory that nothing but the process backs: a mapped file can be read again, and does not count."""
    return sum(_kib(pid, "status", ("RssAnon:", "RssShmem:")) for pid in pids) * 1024


def _exact_bytes(pids: Iterable[int]) -> int:
    return sum(_kib(pid, "smaps_rollup", ("Pss_Anon:", "Pss_Shmem:")) for pid in pids) * 1024


def _kib(pid: int, file: str, names: tuple[str, ...]) -> int:
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith(names))


def _cpu_seconds(pids: Iterable[int]) -> float:
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
