"""One container's processes: in a session, an environment and, where there are any, a control group of their own."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

CONTAINER_VARIABLE = "FASTGEN_DEVCLUSTER_CONTAINER"
"""In the environment of every process of a container: NODE-FOLDER:CONTAINER-ID. Whoever its parent, it is found."""
KILL_ROUNDS = 50
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


class LocalProcess:
    """A container's main process and all that come from it."""

    def __init__(self, child: subprocess.Popen[bytes], mark: str) -> None:
        self._child = child
        self._mark = mark
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._handle = os.pidfd_open(child.pid)
        asyncio.get_running_loop().add_reader(self._handle, self._reap)

    @property
    def pid(self) -> int:
        return self._child.pid

    async def wait(self) -> int:
        """The exit code as a container runtime gives it: 128 + N for signal N."""
        return await asyncio.shield(self._ended)

    def signal(self, number: signal.Signals) -> None:
        """To the main process alone, as a container runtime does."""
        if self._child.returncode is None:
            self._child.send_signal(number)

    def kill_all(self) -> None:
        """SIGKILL to every process of the container, also to those that left its session."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, signal.SIGKILL)
        kill_marked(self._mark)

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._handle)
        os.close(self._handle)
        status = self._child.wait()
        self._ended.set_result(128 - status if status < 0 else status)


def start(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    folder: Path,
    output: Path,
    mark: str,
    control_group: Path | None,
) -> LocalProcess:
    """Start `command` in `folder`, with what it writes appended to `output`. Raises OSError where it cannot be started.

    It dies with this process: the kernel sees to it. Call it from the main thread, which is the one the kernel watches.
    """
    with output.open("ab") as log:
        child = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**environment, CONTAINER_VARIABLE: mark},
            cwd=folder,
            start_new_session=True,
            preexec_fn=_prepare(os.getpid(), control_group),  # noqa: PLW1509 - a few system calls, no locks
        )
    return LocalProcess(child, mark)


def _prepare(parent: int, control_group: Path | None) -> Callable[[], None]:
    members = None if control_group is None else str(control_group / "cgroup.procs").encode()

    def prepare() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the kernel was told to watch it
            os._exit(1)
        if members is not None:
            file = os.open(members, os.O_WRONLY)
            os.write(file, b"0")
            os.close(file)

    return prepare


def marked(prefix: str) -> Iterator[int]:
    """Every live process whose mark begins with `prefix`."""
    wanted = f"{CONTAINER_VARIABLE}={prefix}".encode()
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError):  # gone meanwhile, or somebody else's
            environment = Path("/proc", name, "environ").read_bytes()
            if wanted in environment and any(entry.startswith(wanted) for entry in environment.split(b"\0")):
                yield int(name)


def kill_marked(prefix: str) -> int:
    """SIGKILL every process whose mark begins with `prefix`, until there is none. How many there were."""
    killed: set[int] = set()
    for _ in range(KILL_ROUNDS):
        found = [pid for pid in marked(prefix) if pid not in killed]
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        killed.update(found)
        if not found:
            break
    return len(killed)
