"""`devcluster logs`."""

from __future__ import annotations

import argparse
import contextlib
import functools
import shutil
import sys
import time
from pathlib import Path
from typing import IO

from fastgen_devcluster.cluster import DevCluster
from fastgen_devcluster.commands.base import add_name, chosen_cluster
from fastgen_devcluster.control_plane.running import log_of
from fastgen_devcluster.errors import DevClusterError
from fastgen_devcluster.state import ClusterFolder

LOOK_SECONDS = 0.2


class Logs:
    """See `description`."""

    name = "logs"
    help = "what a pod or a component wrote"
    description = """\
Print what a pod's container or a component of the cluster wrote, whether or not the API server is there. Components:
etcd, kube-apiserver, kube-controller-manager, kube-scheduler, prometheus, service-proxy, process-node, kwok,
supervisor; audit is the API server's audit log.
"""
    epilog = """\
examples:
  devcluster logs llama-replica-7d9f-x2k4p             a pod of namespace default
  devcluster logs fastgen/operator-5c7-abcde -f        of namespace fastgen; -f goes on until Ctrl-C
  devcluster logs llama-replica-7d9f-x2k4p -c fetch    one of its containers
  devcluster logs kube-scheduler                       a component
"""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("what", metavar="[NAMESPACE/]POD|COMPONENT", help="whose log")
        parser.add_argument("-c", "--container", metavar="NAME", help="which container (default: the first)")
        parser.add_argument("-f", "--follow", action="store_true", help="go on until Ctrl-C")
        add_name(parser)

    def run(self, args: argparse.Namespace) -> int:
        cluster = chosen_cluster(args)
        find = functools.partial(_find, cluster, args.what, args.container)
        printer = Printer(sys.stdout.buffer)
        printer.print_new(find())
        while args.follow and cluster.is_running():
            time.sleep(LOOK_SECONDS)
            with contextlib.suppress(DevClusterError, FileNotFoundError):  # between two runs there may be none
                printer.print_new(find())
        return 0


class Printer:
    """Prints what is new in a log, also when another run has begun another file, or the file was cut short."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self._path: Path | None = None
        self._printed_bytes = 0

    def print_new(self, path: Path) -> None:
        with path.open("rb") as log:
            if path != self._path or path.stat().st_size < self._printed_bytes:
                self._path, self._printed_bytes = path, 0
            log.seek(self._printed_bytes)
            shutil.copyfileobj(log, self._out)
            self._out.flush()
            self._printed_bytes = log.tell()


def _find(cluster: DevCluster, what: str, container: str | None) -> Path:
    folder = ClusterFolder(cluster.folder)
    if what == "audit":
        return folder.audit_log
    if "/" not in what and folder.log(what).exists():
        return log_of(folder, what)
    namespace, _, pod = what.rpartition("/")
    return cluster.pod_log(namespace or "default", pod, container)
