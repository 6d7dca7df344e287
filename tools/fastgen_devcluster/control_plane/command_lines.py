"""How each program of the control plane is called. Pure: paths and ports in, arguments out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fastgen_devcluster.control_plane.credentials import Credentials
from fastgen_devcluster.ports import LOOPBACK

SERVICE_ADDRESSES = "10.96.0.0/16"
ISSUER = "https://kubernetes.default.svc.cluster.local"
AUDIT_POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
    userGroups: ["system:serviceaccounts:kube-system"]
  - level: Request
    userGroups: ["system:serviceaccounts"]
    verbs: [create, update, patch, delete]
  - level: Metadata
"""
"""Who asked for what; of pods' own requests also what they wrote, so that a test can ask again with fewer rights."""


@dataclass(frozen=True)
class Site:
    """What a command line needs to know of its cluster."""

    folder: Path
    binaries: Mapping[str, Path]
    ports: Mapping[str, int]
    """By component; etcd has a second one, for peers it does not have."""
    credentials: Credentials
    audit_policy: Path
    audit_log: Path


def etcd(site: Site) -> list[str]:
    """One member, no fsync: a power cut may lose it all, which is what a temporary folder is for."""
    client = f"https://{LOOPBACK}:{site.ports['etcd']}"
    peer = f"http://{LOOPBACK}:{site.ports['etcd-peer']}"
    credentials = site.credentials
    return [
        str(site.binaries["etcd"]),
        "--name=devcluster",
        f"--data-dir={site.folder / 'etcd'}",
        "--unsafe-no-fsync",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=devcluster={peer}",
        f"--cert-file={credentials.etcd.certificate}",
        f"--key-file={credentials.etcd.key}",
        f"--trusted-ca-file={credentials.authority}",
        "--client-cert-auth",
        "--log-level=warn",
    ]


def kube_apiserver(site: Site) -> list[str]:
    """TLS, RBAC, and an audit log."""
    credentials = site.credentials
    return [
        str(site.binaries["kube-apiserver"]),
        f"--bind-address={LOOPBACK}",
        f"--advertise-address={LOOPBACK}",
        f"--secure-port={site.ports['kube-apiserver']}",
        f"--etcd-servers=https://{LOOPBACK}:{site.ports['etcd']}",
        f"--etcd-cafile={credentials.authority}",
        f"--etcd-certfile={credentials.client.certificate}",
        f"--etcd-keyfile={credentials.client.key}",
        f"--tls-cert-file={credentials.server.certificate}",
        f"--tls-private-key-file={credentials.server.key}",
        f"--client-ca-file={credentials.authority}",
        # For `kubectl logs`: nodes know the API server by this, and no name of theirs resolves.
        f"--kubelet-client-certificate={credentials.client.certificate}",
        f"--kubelet-client-key={credentials.client.key}",
        "--kubelet-preferred-address-types=InternalIP",
        "--authorization-mode=Node,RBAC",
        # The second is OpenShift's default: who makes children that hold up a deletion must be allowed to.
        "--enable-admission-plugins=NodeRestriction,OwnerReferencesPermissionEnforcement",
        "--allow-privileged=true",
        "--endpoint-reconciler-type=none",
        f"--service-cluster-ip-range={SERVICE_ADDRESSES}",
        f"--service-account-issuer={ISSUER}",
        f"--service-account-key-file={credentials.token_signing.certificate}",
        f"--service-account-signing-key-file={credentials.token_signing.key}",
        f"--requestheader-client-ca-file={credentials.front_proxy_authority}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={credentials.front_proxy_client.certificate}",
        f"--proxy-client-key-file={credentials.front_proxy_client.key}",
        f"--audit-policy-file={site.audit_policy}",
        f"--audit-log-path={site.audit_log}",
        "--profiling=false",
    ]


def kube_controller_manager(site: Site) -> list[str]:
    """Every controller, each with a service account of its own.

    Making those at the default of 20 calls a second takes 4 s of every start.
    """
    kubeconfig = site.credentials.kubeconfig("kube-controller-manager")
    return [
        str(site.binaries["kube-controller-manager"]),
        f"--kubeconfig={kubeconfig}",
        "--leader-elect=false",
        "--use-service-account-credentials",
        f"--root-ca-file={site.credentials.authority}",
        f"--service-account-private-key-file={site.credentials.token_signing.key}",
        f"--service-cluster-ip-range={SERVICE_ADDRESSES}",
        "--kube-api-qps=200",
        "--kube-api-burst=400",
        "--secure-port=0",
        "--profiling=false",
    ]


def kube_scheduler(site: Site) -> list[str]:
    """The default profile."""
    return [
        str(site.binaries["kube-scheduler"]),
        f"--kubeconfig={site.credentials.kubeconfig('kube-scheduler')}",
        "--leader-elect=false",
        "--secure-port=0",
        "--profiling=false",
    ]
