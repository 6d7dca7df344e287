"""The programs of a cluster, in the order in which they start. They stop in the reverse order."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from fastgen_devcluster.control_plane import command_lines
from fastgen_devcluster.control_plane.command_lines import Site
from fastgen_devcluster.options import ClusterOptions

NODE_MODULE = "fastgen_devcluster.node"
PROXY_NAME = "service-proxy"


@dataclass(frozen=True, kw_only=True)
class Component:
    """One program of a cluster."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    """On top of the environment of whoever started the cluster."""
    grace_seconds: float = 10.0
    """From SIGTERM to SIGKILL when it is stopped."""


def core_components(site: Site) -> tuple[Component, ...]:
    """The control plane proper."""
    return (
        Component(name="etcd", command=tuple(command_lines.etcd(site))),
        Component(name="kube-apiserver", command=tuple(command_lines.kube_apiserver(site)), grace_seconds=15.0),
        Component(name="kube-controller-manager", command=tuple(command_lines.kube_controller_manager(site))),
        Component(name="kube-scheduler", command=tuple(command_lines.kube_scheduler(site))),
    )


def further_components(site: Site, options: ClusterOptions) -> tuple[Component, ...]:
    """What plays the machines and stands beside the control plane, as far as `options` asks for it."""
    return tuple(_further(site, options))


def _further(site: Site, options: ClusterOptions) -> Iterator[Component]:
    if options.process_node and options.nodes and importlib.util.find_spec(f"{NODE_MODULE}.__main__") is not None:
        yield process_node(site, options)


def process_node(site: Site, options: ClusterOptions) -> Component:
    """Nodes whose pods are processes of this machine."""
    images = site.folder / "images.json"
    images.write_text(json.dumps({image: list(command) for image, command in options.images.items()}))
    command = [
        *(sys.executable, "-m", NODE_MODULE),
        f"--kubeconfig={site.credentials.kubeconfig('process-node')}",
        f"--nodes={','.join(options.node_names)}",
        f"--folder={site.folder / 'pods'}",
        f"--gpus={options.gpus_per_node}",
        f"--images={images}",
        *(f"--host-path={where}={folder}" for where, folder in options.host_paths.items()),
    ]
    return Component(name="process-node", command=tuple(command))
