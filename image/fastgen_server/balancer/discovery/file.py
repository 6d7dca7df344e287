"""Replicas listed in a JSON file that is read again whenever it changes. `fastgen up` writes one.

    [{"http": "127.0.0.1:8000", "grpc": "127.0.0.1:8001", "name": "replica-0", "draining": false}, ...]

Only `http` must be there. A file that cannot be read or understood, as one half written, keeps the list as
it is; an empty list `[]` is a list, and means that all replicas are gone.
"""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

from fastgen.errors import UsageError
from fastgen_server.balancer.discovery.base import OnList, parse_address
from fastgen_server.balancer.pool import Discovered
from fastgen_server.balancer.replica import ReplicaAddress

log = logging.getLogger("fastgen.balancer")

LOOK_SECONDS = 0.2


def parse_list(text: str) -> list[Discovered]:
    """The replicas a file lists. Raises ValueError that says what is wrong with it."""
    entries = json.loads(text)
    if not isinstance(entries, list):
        raise ValueError(f"a JSON list of replicas was expected, not a {type(entries).__name__}")
    found = [_parse_entry(entry, index) for index, entry in enumerate(entries)]
    if len({entry.address.http for entry in found}) < len(found):
        raise ValueError("the same http address is listed twice")
    return found


def _parse_entry(entry: Any, index: int) -> Discovered:
    if not isinstance(entry, dict) or not isinstance(entry.get("http"), str):
        raise ValueError(f'entry {index}: expected {{"http": "host:port", "grpc": "host:port"}}, got {entry!r}')
    if unknown := sorted(set(entry) - {"http", "grpc", "name", "draining"}):
        raise ValueError(f"entry {index}: unknown key {unknown[0]!r}; known are http, grpc, name and draining")
    grpc_address = entry.get("grpc")
    if grpc_address is not None:
        parse_address(str(grpc_address), f"entry {index}, grpc")
    name = entry.get("name", "")
    if not isinstance(name, str) or not isinstance(entry.get("draining", False), bool):
        raise ValueError(f"entry {index}: name is a text and draining is true or false, got {entry!r}")
    address = ReplicaAddress(parse_address(entry["http"], f"entry {index}, http"), grpc_address, name)
    return Discovered(address, entry.get("draining", False))


class FileDiscovery:
    """Follows one file by its time, size and inode, which works on every file system, ConfigMaps included."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._complained = ""

    def load(self) -> list[Discovered] | None:
        """The list if it changed since the last call and can be read."""
        try:
            stat = self._path.stat()
            seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if seen == self._seen:
                return None
            found = parse_list(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError, UsageError) as error:
            self._complain(str(error))
            return None
        self._seen = seen
        self._complained = ""
        return found

    def _complain(self, problem: str) -> None:
        if problem != self._complained:
            log.warning("replicas file %s: %s; the list stays as it was", self._path, problem)
        self._complained = problem

    async def run(self, on_list: OnList) -> None:
        while True:
            if (found := self.load()) is not None:
                on_list(found)
            await asyncio.sleep(LOOK_SECONDS)
