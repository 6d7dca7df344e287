"""`devcluster status`."""

from __future__ import annotations

import argparse
from pathlib import Path

from fastgen_devcluster.cluster import DevCluster
from fastgen_devcluster.commands.base import add_name
from fastgen_devcluster.errors import DevClusterError
from fastgen_devcluster.state import ClusterFolder, ClusterRecord, ProcessId, clear_leftovers, cluster_folders

PAGE_KIB = 4


class Status:
    """See `description`."""

    name = "status"
    help = "what is up, what runs in it, and where its logs are"
    description = """\
Show every cluster on this machine: its components with their processes, its nodes and its pods. What a cluster whose
supervisor was killed left behind is cleared away first. Exits with 1 where nothing is up, or a component is missing.
"""
    epilog = ""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        add_name(parser)

    def run(self, args: argparse.Namespace) -> int:
        for name in clear_leftovers():
            print(f"cleared away what was left of cluster '{name}', whose supervisor was gone")
        found = [
            (folder, record)
            for folder in cluster_folders()
            if args.name in (None, folder.path.name) and (record := folder.read_record()) is not None
        ]
        if not found:
            print("no cluster is up" if args.name is None else f"cluster '{args.name}' is not up")
            return 1
        return max([_show(folder, record) for folder, record in found])


def _show(folder: ClusterFolder, record: ClusterRecord) -> int:
    missing = [name for name, process in record.processes.items() if process is None or not process.is_alive()]
    print(f"cluster '{record.name}': {record.state}, {record.server}")
    print(f"  export KUBECONFIG={folder.kubeconfig}")
    print(f"  logs in {folder.logs}")
    for name, process in record.processes.items():
        print(f"  {name:<24} {_describe(process)}")
    for name in missing:
        this = f"--name {record.name} {name}"
        print(f"  {name} is missing: `devcluster logs {this}` says why, `devcluster restart {this}` starts it again")
    if record.state == "running" and "kube-apiserver" not in missing:
        _show_contents(DevCluster(folder, record))
    return 1 if missing else 0


def _show_contents(cluster: DevCluster) -> None:
    for what in (("nodes",), ("pods", "--all-namespaces", "-o", "wide")):
        try:
            listed = cluster.kubectl("get", *what, "--request-timeout=5s").rstrip()
        except DevClusterError as error:
            listed = str(error)
        if listed:
            print("\n" + listed)


def _describe(process: ProcessId | None) -> str:
    if process is None or not process.is_alive():
        return "not running"
    return f"process {process.pid}, {_resident_mib(process.pid)} MiB"


def _resident_mib(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_KIB // 1024
    except (OSError, IndexError):
        return 0
