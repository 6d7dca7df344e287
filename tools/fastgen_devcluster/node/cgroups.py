"""Control groups where this machine lets us have any: one for each container, with its CPU limit. Version 1 and 2."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import time
from pathlib import Path

PREFIX = "fastgen-devcluster-"
PERIOD_MICROSECONDS = 100_000
LEAST_QUOTA_MICROSECONDS = 1_000
REMOVE_TRIES = 50
REMOVE_SECONDS = 0.02


class ControlGroups:
    """The groups of one node process, under one group of its own."""

    def __init__(self, parent: Path, *, is_version_2: bool) -> None:
        self._parent = parent
        self._is_version_2 = is_version_2

    def make(self, name: str, cpu_limit_cores: float | None) -> Path:
        """A new group. Raises OSError."""
        group = self._parent / name
        group.mkdir()
        if cpu_limit_cores is not None:
            quota = max(int(cpu_limit_cores * PERIOD_MICROSECONDS), LEAST_QUOTA_MICROSECONDS)
            if self._is_version_2:
                (group / "cpu.max").write_text(f"{quota} {PERIOD_MICROSECONDS}")
            else:
                (group / "cpu.cfs_period_us").write_text(str(PERIOD_MICROSECONDS))
                (group / "cpu.cfs_quota_us").write_text(str(quota))
        return group

    async def remove(self, group: Path) -> None:
        """Remove an empty group; the last of its processes may still be about to go."""
        for _ in range(REMOVE_TRIES):
            try:
                os.rmdir(group)
                return
            except FileNotFoundError:
                return
            except OSError:
                await asyncio.sleep(REMOVE_SECONDS)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._parent.rmdir()


def members(group: Path) -> list[int]:
    """The processes in a group."""
    try:
        return [int(pid) for pid in (group / "cgroup.procs").read_text().split()]
    except OSError:
        return []


def clear(root: Path, owner: str) -> None:
    """Remove what dead node processes left in a hierarchy, and end what is left of the one of the same folder."""
    for parent in root.glob(f"{PREFIX}*"):
        pid, _, its_owner = parent.name.removeprefix(PREFIX).partition("-")
        if not Path("/proc", pid).exists() or pid == str(os.getpid()):
            for group in (*parent.glob("*/"), parent):
                for member in members(group) if its_owner == owner else ():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(member, signal.SIGKILL)
                with contextlib.suppress(OSError):
                    group.rmdir()


def clear_after(folder: Path) -> None:
    """Remove what the node process of `folder`, which is dead with all its pods, left in every hierarchy."""
    for root, _ in _hierarchies():
        for parent in root.glob(f"{PREFIX}*-{_owner(folder)}"):
            for group in (*parent.glob("*/"), parent):
                _remove_soon(group)


def _remove_soon(group: Path) -> None:
    """The last of its processes may still be about to go."""
    for _ in range(REMOVE_TRIES):
        try:
            group.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(REMOVE_SECONDS)


def _owner(folder: Path) -> str:
    return hashlib.sha256(str(folder).encode()).hexdigest()[:12]


def open_control_groups(folder: Path) -> ControlGroups | None:
    """Groups for the node process of `folder`; None where this machine or this user has none to give."""
    owner = _owner(folder)
    name = f"{PREFIX}{os.getpid()}-{owner}"
    for root, is_version_2 in _hierarchies():
        try:
            clear(root, owner)
            if is_version_2:
                (root / "cgroup.subtree_control").write_text("+cpu")
            groups = ControlGroups(root / name, is_version_2=is_version_2)
            (root / name).mkdir(exist_ok=True)
            if is_version_2:
                (root / name / "cgroup.subtree_control").write_text("+cpu")
            groups.make("check", 1.0).rmdir()
            return groups
        except OSError:
            continue
    return None


def _hierarchies() -> list[tuple[Path, bool]]:
    """Mounted hierarchies that have the cpu controller."""
    found = []
    for line in Path("/proc/mounts").read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        if kind == "cgroup" and "cpu" in options.split(","):
            found.append((Path(where), False))
        if kind == "cgroup2" and "cpu" in _words(Path(where) / "cgroup.controllers"):
            found.append((Path(where), True))
    return found


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []
