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
PROMETHEUS_OPERATOR = "0.85.0"  # its CRDs only

Version = tuple[int, int]
"""Major and minor."""
ANY_MINOR = 999


class Archive(NamedTuple):
    """An official download for Linux. `{version}` and `{arch}` (amd64, arm64) are filled in."""

    url: str
    """Where it is: the program itself, or a .tar.gz."""
    member: str | None
    """The program's path inside the .tar.gz; None where the download is the program."""
    sha256: Mapping[str, str]
    """Its digest by architecture, as several distributions that package it agree on."""
    checksums_url: str | None = None
    """Where no digest is pinned: upstream's own list (`digest  file name` lines), fetched over TLS beside the archive.
    That guards against a broken download, not against a broken upstream; pin the digest when you know it."""


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


def _kubernetes(name: str, amd64: str, arm64: str, *version_arguments: str) -> Program:
    archive = Archive(
        "https://dl.k8s.io/release/v{version}/bin/linux/{arch}/" + name, None, {"amd64": amd64, "arm64": arm64}
    )
    return Program(name, f"k8s.io/kubernetes/cmd/{name}", archive, version_arguments or ("--version",))


_ETCD_RELEASE = "https://github.com/etcd-io/etcd/releases/download/v{version}/"
_PROMETHEUS_RELEASE = "https://github.com/prometheus/prometheus/releases/download/v{version}/"
_HELM_ARCHIVE = "https://get.helm.sh/helm-v{version}-linux-{arch}.tar.gz"

FAMILIES = (
    Family(
        "kubernetes",
        KUBERNETES,
        f"v{KUBERNETES}",
        (
            _kubernetes(
                "kube-apiserver",
                "1f217d397234a6d065da663c6e086fdb02c0f0de97a0758ff3e6f3956f4ef8ab",
                "16001b9d35d23634c361a1e2b7b0fc7abe186984af697ef7a869c8c8cded78b7",
            ),
            _kubernetes(
                "kube-controller-manager",
                "7edfe976d5a06c7a702d653e914095f4a732a04bb2139115b6a6eba6a9b781c7",
                "27868a5c822824945b93f2d8a724a5dcd99affc68b47230ae766bff8795bbb84",
            ),
            _kubernetes(
                "kube-scheduler",
                "b8955d4518c902110b50a825364339b1fb673822518ce0ba081a69ed634f8eee",
                "ca1c7cd0033942bf9ef7eac80e18375d91f6f29487244c3e685f11163b01a88d",
            ),
            _kubernetes(
                "kubectl",
                "ebbd080e7c2e275093b55915722043257eb24004363e20acb3c4d71919f88336",
                "3d86f24401c41ae5a46ac50eef8865fe891d3647d324a0836f6c63757a126e62",
                "version",
                "--client",
            ),
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
                    {},
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
                Archive(_HELM_ARCHIVE, "linux-{arch}/helm", {}, _HELM_ARCHIVE + ".sha256sum"),
                ("version", "--short"),
            ),
        ),
        oldest=(4, 0),
        newest=(4, ANY_MINOR),
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
                    {
                        "amd64": "2a542df32eac02ee17b9d844fb2aa1de00dafa5476579ba8a3ba862e9d572ea0",
                        "arm64": "f1f90ec08e849d494ca66c611470afc50192f0355f1a61c33f2cbde02d067823",
                    },
                ),
            ),
        ),
        oldest=(3, 0),
        newest=(3, ANY_MINOR),
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
                Archive(
                    "https://github.com/kubernetes-sigs/kwok/releases/download/v{version}/kwok-linux-{arch}",
                    None,
                    {
                        "amd64": "f5a4385a2ae1b9dd7f8acae18e002a75c0ebba124ae9d7259aa8dadb50711f46",
                        "arm64": "628f7d277860f524a2a775c217adcc58828e7b59ab0933680315784f1b8b0e37",
                    },
                ),
            ),
        ),
        oldest=(0, 8),
        newest=(0, 8),
    ),
)

NAMES: tuple[str, ...] = tuple(program.name for family in FAMILIES for program in family.programs)


class File(NamedTuple):
    """One file of an upstream's source."""

    name: str
    url: str
    in_module: str
    """Its path inside the Go module."""
    sha256: str


class Asset(NamedTuple):
    """Manifests that an upstream ships in its source; the same files by URL or inside a Go module."""

    name: str
    version: str
    module: str
    files: tuple[File, ...]


def _monitoring_crd(plural: str, sha256: str) -> File:
    path = f"example/prometheus-operator-crd/monitoring.coreos.com_{plural}.yaml"
    source = "https://raw.githubusercontent.com/prometheus-operator/prometheus-operator"
    return File(f"{plural}.yaml", f"{source}/v{PROMETHEUS_OPERATOR}/{path}", path, sha256)


ASSETS = (
    Asset(
        "prometheus-operator-crds",
        PROMETHEUS_OPERATOR,
        "github.com/prometheus-operator/prometheus-operator",
        (
            _monitoring_crd("servicemonitors", "1dae27b7189b5ce7b9ab764656c18b4c75a45cde1e6f3af6a5e84c4317628919"),
            _monitoring_crd("prometheusrules", "98fd16c9ab79fba8dcd6ef62c957c98cd6546ab74ce0a4ecf09ddf2fda03020e"),
        ),
    ),
)
