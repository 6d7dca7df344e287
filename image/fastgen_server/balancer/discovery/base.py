"""The seam: a source of replicas calls back whenever its list changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from fastgen.errors import UsageError
from fastgen_server.balancer.pool import Discovered
from fastgen_server.balancer.replica import ReplicaAddress

OnList = Callable[[Sequence[Discovered]], None]


class Discovery(Protocol):
    """Knows which replicas there are. The whole list is told each time: whoever is missing from it drains."""

    async def run(self, on_list: OnList) -> None:
        """Tell the list and then every change of it, until cancelled. Outlives errors of its source."""
        ...


def parse_address(text: str, where: str) -> str:
    """`text` if it is host:port. Raises UsageError that says what is wrong."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) <= 65535:
        raise UsageError(f"{where}: {text!r} is no address; write host:port, such as 127.0.0.1:8000")
    return text


def parse_replica(text: str) -> ReplicaAddress:
    """The value of --replica: `http=HOST:PORT,grpc=HOST:PORT`, or plain `HOST:PORT` for HTTP alone."""
    parts: dict[str, str] = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        parts.update({key: value} if equals else {"http": part})
    unknown = sorted(set(parts) - {"http", "grpc", "name"})
    if unknown or "http" not in parts:
        wrong = f"'{unknown[0]}' is unknown" if unknown else "http is missing"
        raise UsageError(f"--replica {text}: {wrong}; write --replica http=HOST:PORT,grpc=HOST:PORT (grpc optional)")
    grpc_address = parse_address(parts["grpc"], "--replica grpc") if "grpc" in parts else None
    return ReplicaAddress(parse_address(parts["http"], "--replica http"), grpc_address, parts.get("name", ""))
