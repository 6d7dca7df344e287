"""What a devcluster is made of, pinned here and nowhere else (the Go modules of `gotools/` follow, go.sum included).

To move to another version: change it here, run `go get TOOL@VERSION` and `go mod tidy` in its folder under `gotools/`
(for Kubernetes its `replace` lines too: every staging module, from the go.mod of that version), and
`make control-plane`. A test holds both places together.

Kubernetes 1.36 is a minor that upstream supports; the others are the newest that run with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

KUBERNETES = "1.36.3"
ETCD = "3.7.3"
HELM = "4.3.1"
PROMETHEUS = "3.15.0"
KWOK = "0.8.0"

Version = tuple[int, int]
"""Major and minor."""


class Archive(NamedTuple):
    """An official download for Linux. `{version}` and `{arch}` (amd64, arm64) are filled in."""

    url: str
    """Where it is: the program itself, or a .tar.gz."""
    member: str | None
    """The program's path inside the .tar.gz; None where the download is the program."""
    checksums_url: str
    """Where upstream publishes its SHA-256: a bare digest, or lines of `digest  file name`."""
    sha256: Mapping[str, str] = {}
    """The digest by architecture where it could be verified and pinned. For the rest the one that upstream publishes
    beside the archive is fetched over TLS: it guards against a broken download, not against a broken upstream."""


class Program(NamedTuple):
    """One binary."""

    name: str
    package: str
    """The Go package it is built from."""
    archive: Archive
    version_arguments: tuple[str, ...] = ("--version",)
    """What makes it say its version."""


class Family(NamedTuple):
    """Programs of one upstream and one Go module (their dependencies conflict otherwise)."""

    name: str
    """Also the folder under `gotools/`."""
    version: str
    module_version: str
    """What the Go module calls this version."""
    programs: tuple[Program, ...]
    oldest: Version
    """Major and minor of the oldest release found on this machine that will do."""
    newest: Version
    ldflags: tuple[str, ...] = ()
    """Variables that upstream's own build sets; without them the program does not know its version."""
    tags: tuple[str, ...] = ()


def _kubernetes(name: str, *version_arguments: str) -> Program:
    url = "https://dl.k8s.io/release/v{version}/bin/linux/{arch}/" + name
    return Program(
        name, f"k8s.io/kubernetes/cmd/{name}", Archive(url, None, url + ".sha256"), version_arguments or ("--version",)
    )


_ETCD_RELEASE = "https://github.com/etcd-io/etcd/releases/download/v{version}/"
_PROMETHEUS_RELEASE = "https://github.com/prometheus/prometheus/releases/download/v{version}/"
_KWOK_RELEASE = "https://github.com/kubernetes-sigs/kwok/releases/download/v{version}/"
_HELM_ARCHIVE = "https://get.helm.sh/helm-v{version}-linux-{arch}.tar.gz"

FAMILIES = (
    Family(
        "kubernetes",
        KUBERNETES,
        f"v{KUBERNETES}",
        (
            _kubernetes("kube-apiserver"),
            _kubernetes("kube-controller-manager"),
            _kubernetes("kube-scheduler"),
            _kubernetes("kubectl", "version", "--client"),
        ),
        oldest=(1, 36),
        newest=(1, 36),
        ldflags=(
            f"-X k8s.io/component-base/version.gitVersion=v{KUBERNETES}",
            f"-X k8s.io/component-base/version.gitMajor={KUBERNETES.split('.')[0]}",
            f"-X k8s.io/component-base/version.gitMinor={KUBERNETES.split('.')[1]}",
        ),
    ),
    Family(
        "etcd",
        ETCD,
        f"v{ETCD}",
        (
            Program(
                "etcd",
                "go.etcd.io/etcd/server/v3",
                Archive(
                    _ETCD_RELEASE + "etcd-v{version}-linux-{arch}.tar.gz",
                    "etcd-v{version}-linux-{arch}/etcd",
                    _ETCD_RELEASE + "SHA256SUMS",
                ),
            ),
        ),
        oldest=(3, 6),
        newest=(3, 7),
    ),
    Family(
        "helm",
        HELM,
        f"v{HELM}",
        (
            Program(
                "helm",
                "helm.sh/helm/v4/cmd/helm",
                Archive(_HELM_ARCHIVE, "linux-{arch}/helm", _HELM_ARCHIVE + ".sha256sum"),
                ("version", "--short"),
            ),
        ),
        oldest=(4, 0),
        newest=(4, 99),
        ldflags=(f"-X helm.sh/helm/v4/internal/version.version=v{HELM}",),
    ),
    Family(
        "prometheus",
        PROMETHEUS,
        # Prometheus' module versions are v0.300.0 for 3.0.0, v0.315.0 for 3.15.0.
        "v0.{}{:02d}.{}".format(*(int(part) for part in PROMETHEUS.split("."))),
        (
            Program(
                "prometheus",
                "github.com/prometheus/prometheus/cmd/prometheus",
                Archive(
                    _PROMETHEUS_RELEASE + "prometheus-{version}.linux-{arch}.tar.gz",
                    "prometheus-{version}.linux-{arch}/prometheus",
                    _PROMETHEUS_RELEASE + "sha256sums.txt",
                ),
            ),
        ),
        oldest=(3, 0),
        newest=(3, 99),
        ldflags=(f"-X github.com/prometheus/common/version.Version={PROMETHEUS}",),
        # Discovery by cloud is most of Prometheus' code; a devcluster needs Kubernetes' alone.
        tags=("remove_all_sd", "enable_kubernetes_sd", "enable_dns_sd"),
    ),
    Family(
        "kwok",
        KWOK,
        f"v{KWOK}",
        (
            Program(
                "kwok",
                "sigs.k8s.io/kwok/cmd/kwok",
                Archive(_KWOK_RELEASE + "kwok-linux-{arch}", None, _KWOK_RELEASE + "kwok-linux-{arch}.sha256"),
            ),
        ),
        oldest=(0, 8),
        newest=(0, 8),
    ),
)

NAMES = tuple(program.name for family in FAMILIES for program in family.programs)
