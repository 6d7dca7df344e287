"""The processes behind a pod of the test cluster, for tests that hurt them."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from pathlib import Path

from cluster_namespace import Json


def processes_of(pod: Json) -> list[int]:
    """Process ids of a pod's containers. Every container listens on the pod's own address, and says so on its
    command line."""
    address = re.compile(rb"(^|[^\d.])" + re.escape(pod["status"]["podIP"].encode()) + rb"($|[^\d.])")
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                if address.search((folder / "cmdline").read_bytes().replace(b"\0", b" ")):
                    found.append(int(folder.name))
    return sorted(found)


def kill(pod: Json) -> None:
    """SIGKILL to all of them, as when a node runs out of memory."""
    found = processes_of(pod)
    assert found, f"no process of {pod['metadata']['name']} was found"
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
