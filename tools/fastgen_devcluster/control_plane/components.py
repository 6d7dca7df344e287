"""The programs of a cluster, in the order in which they start. They stop in the reverse order."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from fastgen_devcluster import kwok, prometheus
from fastgen_devcluster.control_plane import command_lines
from fastgen_devcluster.control_plane.command_lines import Site
from fastgen_devcluster.options import ClusterOptions
from fastgen_devcluster.ports import LOOPBACK

NODE_MODULE = "fastgen_devcluster.node"
PROMETHEUS = "prometheus"
PROMETHEUS_SERVICE = "prometheus.monitoring"
PROXY = "service-proxy"
KWOK = "kwok"
NO_PROXY = "127.0.0.0/8,localhost"


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
        # It closes its port at once, then waits up to a minute for clients that watch; nothing is lost by not waiting.
        Component(name="kube-apiserver", command=tuple(command_lines.kube_apiserver(site)), grace_seconds=4.0),
        Component(name="kube-controller-manager", command=tuple(command_lines.kube_controller_manager(site))),
        Component(name="kube-scheduler", command=tuple(command_lines.kube_scheduler(site))),
    )


def further_components(site: Site, options: ClusterOptions) -> tuple[Component, ...]:
    """What stands beside the control plane, as far as `options` asks for it, and at last what plays the machines."""
    return tuple(_further(site, options))


def _further(site: Site, options: ClusterOptions) -> Iterator[Component]:
    if options.prometheus:
        yield prometheus_component(site, options)
    yield service_proxy(site, options)
    if options.process_node and options.nodes and importlib.util.find_spec(f"{NODE_MODULE}.__main__") is not None:
        yield process_node(site, options)
    if options.kwok_nodes:
        kubeconfig = site.credentials.kubeconfig(KWOK)
        yield Component(name=KWOK, command=tuple(kwok.command(site.binaries[KWOK], kubeconfig=kubeconfig)))


def prometheus_component(site: Site, options: ClusterOptions) -> Component:
    """Prometheus on a port of this machine; pods reach it as prometheus.monitoring, through the service proxy."""
    config = site.folder / "prometheus.yaml"
    config.write_text(
        prometheus.read_config(
            options.prometheus_config,
            kubeconfig=site.credentials.kubeconfig(PROMETHEUS),
            scrape_interval_seconds=options.scrape_interval_seconds,
        )
    )
    command = prometheus.command(
        site.binaries[PROMETHEUS],
        config=config,
        data=site.folder / "prometheus",
        address=f"{LOOPBACK}:{site.ports[PROMETHEUS]}",
    )
    return Component(name=PROMETHEUS, command=tuple(command))


def service_proxy(site: Site, options: ClusterOptions) -> Component:
    """The proxy that knows Services by name."""
    identity = site.credentials.service_proxy
    command = [
        *(sys.executable, "-m", "fastgen_devcluster.service_proxy"),
        f"--port={site.ports[PROXY]}",
        f"--server=https://{LOOPBACK}:{site.ports['kube-apiserver']}",
        f"--authority={site.credentials.authority}",
        f"--certificate={identity.certificate}",
        f"--key={identity.key}",
    ]
    if options.prometheus:
        command.append(f"--static={PROMETHEUS_SERVICE}={LOOPBACK}:{site.ports[PROMETHEUS]}")
    return Component(name=PROXY, command=tuple(command), grace_seconds=3.0)


def process_node(site: Site, options: ClusterOptions) -> Component:
    """Nodes whose pods are processes of this machine."""
    images = site.folder / "images.json"
    images.write_text(json.dumps({image: list(command) for image, command in options.images.items()}))
    command = [
        *(sys.executable, "-m", NODE_MODULE),
        f"--kubeconfig={site.credentials.kubeconfig('process-node')}",
        f"--nodes={','.join(options.node_names)}",
        f"--folder={site.folder / 'node'}",
        f"--gpus={options.gpus_per_node}",
        f"--images={images}",
        *(f"--host-path={where}={folder}" for where, folder in options.host_paths.items()),
        *(f"--env={name}={value}" for name, value in proxy_environment(site).items()),
    ]
    return Component(name="process-node", command=tuple(command))


def proxy_environment(site: Site) -> dict[str, str]:
    """By what a pod's programs find Services by name. Some read only one spelling."""
    proxy = f"http://{LOOPBACK}:{site.ports[PROXY]}"
    return {"HTTP_PROXY": proxy, "http_proxy": proxy, "NO_PROXY": NO_PROXY, "no_proxy": NO_PROXY}
