"""`devcluster logs`."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path

from fastgen_devcluster.cluster import DevCluster
from fastgen_devcluster.commands.base import add_name, chosen_cluster
from fastgen_devcluster.control_plane.running import log_of
from fastgen_devcluster.state import ClusterFolder

LOOK_SECONDS = 0.2


class Logs:
    """See `description`."""

    name = "logs"
    help = "what a pod or a component wrote"
    description = """\
Print what a pod's container or a component of the cluster wrote. (`kubectl logs` asks the node over a connection that
this node does not serve.) Components: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, prometheus,
service-proxy, process-node, kwok, supervisor; audit is the API server's audit log.
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
        path = _find(chosen_cluster(args), args.what, args.container)
        with path.open("rb") as log:
            shutil.copyfileobj(log, sys.stdout.buffer)
            sys.stdout.buffer.flush()
            while args.follow and path.exists():
                time.sleep(LOOK_SECONDS)
                shutil.copyfileobj(log, sys.stdout.buffer)
                sys.stdout.buffer.flush()
        return 0


def _find(cluster: DevCluster, what: str, container: str | None) -> Path:
    folder = ClusterFolder(cluster.folder)
    if what == "audit":
        return folder.audit_log
    if "/" not in what and folder.log(what).exists():
        return log_of(folder, what)
    namespace, _, pod = what.rpartition("/")
    return cluster.pod_log(namespace or "default", pod, container)
