"""Loopback addresses: one /24 of 127.1.0.0/16 for each node process, nodes first, then pods."""

from __future__ import annotations

import hashlib
import socket
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from fastgen_devcluster.errors import DevClusterError

LOCK_PORT = 10250
"""The port on which a node of Kubernetes listens; holding it on the network's first address holds the network."""
NETWORKS = 255
LAST_HOST = 254


class AddressPool:
    """The addresses of one node process. The kernel gives the network back when the process ends, however it ends."""

    def __init__(self, folder: Path, node_names: Sequence[str]) -> None:
        """Takes a free network. Raises DevClusterError where there is none."""
        first = int.from_bytes(hashlib.sha256(str(folder).encode()).digest()[:4], "big")
        for attempt in range(NETWORKS):
            prefix = f"127.1.{(first + attempt) % NETWORKS}"
            self._lock = socket.socket()
            try:
                self._lock.bind((f"{prefix}.1", LOCK_PORT))
                self._lock.listen()
            except OSError:
                self._lock.close()
                continue
            break
        else:
            raise DevClusterError(
                f"every network 127.1.0.0/24 to 127.1.{NETWORKS - 1}.0/24 is taken: nothing can bind port {LOCK_PORT} "
                "there; `devcluster status` lists the clusters that run, and `devcluster down` ends one"
            )
        hosts = [f"{prefix}.{host}" for host in range(1, LAST_HOST + 1)]
        self.of_node = dict(zip(node_names, hosts, strict=False))
        self._free = deque(hosts[len(node_names) :])
        self.pods_per_node = min(110, len(self._free) // len(node_names))

    def take(self) -> str:
        """A pod's address: the one that was free for longest. Raises DevClusterError."""
        if not self._free:
            raise DevClusterError("no pod address is free: a process node has room for about 250 pods")
        return self._free.popleft()

    def give_back(self, address: str) -> None:
        self._free.append(address)

    def close(self) -> None:
        self._lock.close()
