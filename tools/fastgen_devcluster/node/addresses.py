"""Loopback addresses: one /24 of 127.1.0.0/16 for each node process, nodes first, then pods."""

from __future__ import annotations

import hashlib
import socket
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from fastgen_devcluster.errors import DevClusterError

KUBELET_PORT = 10250
NETWORKS = 255
LAST_HOST = 254


class AddressPool:
    """The addresses of one node process. The kernel gives the network back when the process ends, however it ends."""

    def __init__(self, folder: Path, node_names: Sequence[str]) -> None:
        """Takes a free network. Raises DevClusterError where there is none."""
        first = int.from_bytes(hashlib.sha256(str(folder).encode()).digest()[:4], "big")
        for attempt in range(NETWORKS):
            prefix = f"127.1.{(first + attempt) % NETWORKS}"
            try:
                self.sockets = [socket.create_server((f"{prefix}.1", KUBELET_PORT))]
                break
            except OSError:
                continue
        else:
            raise DevClusterError(
                f"every network 127.1.0.0/24 to 127.1.{NETWORKS - 1}.0/24 is taken: nothing binds port {KUBELET_PORT} "
                "there; `devcluster status` lists the clusters that run, and `devcluster down` ends one"
            )
        # Whoever holds the first holds the network.
        self.sockets += [
            socket.create_server((f"{prefix}.{host}", KUBELET_PORT)) for host in range(2, len(node_names) + 1)
        ]
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
        for held in self.sockets:
            held.close()
