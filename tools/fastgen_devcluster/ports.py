"""Ports on loopback that stay ours, even while nothing listens on them.

Asking the kernel for a free port and handing its number to another program leaves a moment in which someone else
may take it, and a component that is down for a restart leaves seconds. So ports come from below the range from
which the kernel serves outgoing connections, and each is claimed by a name in the abstract socket namespace:
two clusters on one machine never choose the same one, and the kernel lets go of the claim when its holder dies.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator

from fastgen.errors import FastGenError

FIRST_PORT, LAST_PORT = 20_000, 31_999
LOOPBACK = "127.0.0.1"


class PortClaim:
    """A port that this process holds until `release`, or until it ends."""

    def __init__(self, port: int, claim: socket.socket) -> None:
        self.port = port
        self._claim = claim

    def release(self) -> None:
        self._claim.close()


def claim_port() -> PortClaim:
    """A port on which nobody listens and which no other cluster will choose. Raises FastGenError if all are taken."""
    for port in _shuffled():
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            claim.bind(f"\0fastgen-devcluster-port-{port}")
        except OSError:
            claim.close()
            continue
        if _is_free(port):
            return PortClaim(port, claim)
        claim.close()
    raise FastGenError(f"no free port on {LOOPBACK} between {FIRST_PORT} and {LAST_PORT}; end something that listens")


def _shuffled() -> Iterator[int]:
    ports = list(range(FIRST_PORT, LAST_PORT + 1))
    random.SystemRandom().shuffle(ports)
    yield from ports


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
