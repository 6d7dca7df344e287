"""Every key, certificate and kubeconfig of one cluster, written before anything starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fastgen_devcluster.certificates import Authority, signing_key
from fastgen_devcluster.kubeconfig import kubeconfig_text, write_kubeconfig
from fastgen_devcluster.state import ClusterFolder

FIRST_SERVICE_ADDRESS = "10.96.0.1"
SERVER_NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)
PROMETHEUS_USER = "devcluster:prometheus"
PROXY_USER = "devcluster:service-proxy"


class KeyPair(NamedTuple):
    """Files of a certificate and its key."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Credentials:
    """Where they all are."""

    authority: Path
    """Who signs the API server, etcd and every client."""
    front_proxy_authority: Path
    server: KeyPair
    etcd: KeyPair
    client: KeyPair
    """Who the API server is to etcd and to the nodes."""
    front_proxy_client: KeyPair
    admin: KeyPair
    service_proxy: KeyPair
    token_signing: KeyPair
    """The public and the private key of service-account tokens."""
    kubeconfigs: Path
    """A folder with one file per component that is a client of the API server."""

    def kubeconfig(self, component: str) -> Path:
        return self.kubeconfigs / component


USERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "kube-controller-manager": ("system:kube-controller-manager", ()),
    "kube-scheduler": ("system:kube-scheduler", ()),
    "process-node": ("devcluster:process-node", ("system:masters",)),
    "kwok": ("devcluster:kwok", ("system:masters",)),
    "prometheus": (PROMETHEUS_USER, ()),
}
"""Component to its user and groups. The first two have their rights from Kubernetes itself; what plays nodes may do
anything, as it stands for kubelets of many nodes at once; Prometheus gets its own in rights.py."""


def write_credentials(folder: ClusterFolder, *, cluster: str, server_url: str) -> Credentials:
    """Make everything, in `folder`, for an API server at `server_url`."""
    folder.certificates.mkdir(mode=0o700)
    folder.kubeconfigs.mkdir(mode=0o700)
    authority = Authority.new("fastgen-devcluster")
    front_proxy_authority = Authority.new("fastgen-devcluster-front-proxy")
    admin = authority.client("devcluster-admin", groups=("system:masters",))
    server = authority.server("kube-apiserver", names=SERVER_NAMES, addresses=("127.0.0.1", FIRST_SERVICE_ADDRESS))

    def write(name: str, content: bytes) -> Path:
        path = folder.certificates / name
        path.touch(mode=0o600)
        path.write_bytes(content)
        return path

    for component, (user, groups) in USERS.items():
        identity = authority.client(user, groups=groups)
        text = kubeconfig_text(
            cluster=cluster, server=server_url, authority=authority.certificate, user=user, identity=identity
        )
        write_kubeconfig(folder.kubeconfigs / component, text)
    text = kubeconfig_text(
        cluster=cluster, server=server_url, authority=authority.certificate, user="admin", identity=admin
    )
    write_kubeconfig(folder.kubeconfig, text)
    private, public = signing_key()
    etcd = authority.server("etcd", names=("localhost",), addresses=("127.0.0.1",))
    return Credentials(
        authority=write("authority.crt", authority.certificate),
        front_proxy_authority=write("front-proxy-authority.crt", front_proxy_authority.certificate),
        server=KeyPair(*server.write(folder.certificates, "kube-apiserver")),
        etcd=KeyPair(*etcd.write(folder.certificates, "etcd")),
        client=KeyPair(*authority.client("kube-apiserver").write(folder.certificates, "kube-apiserver-client")),
        front_proxy_client=KeyPair(
            *front_proxy_authority.client("front-proxy-client").write(folder.certificates, "front-proxy-client")
        ),
        admin=KeyPair(*admin.write(folder.certificates, "admin")),
        service_proxy=KeyPair(*authority.client(PROXY_USER).write(folder.certificates, "service-proxy")),
        token_signing=KeyPair(write("tokens.pub", public), write("tokens.key", private)),
        kubeconfigs=folder.kubeconfigs,
    )
