"""Finding or getting what a control plane is made of: etcd, Kubernetes, helm, Prometheus, kwok.

    find(names)                   what this machine has; raises where something is missing
    obtain(names, on_progress)    the same, after downloading or building what is missing
    obtain_all(on_progress)       everything (`make control-plane`)

Looked for in this order: $KUBEBUILDER_ASSETS, PATH (a fitting version only), the cache, the official archives, a build
by the Go toolchain. Versions: `fastgen_devcluster.versions`.
"""

from __future__ import annotations

from fastgen_devcluster.binaries.errors import BinariesError
from fastgen_devcluster.binaries.getting import find, obtain, obtain_all
from fastgen_devcluster.versions import NAMES

__all__ = ["NAMES", "BinariesError", "find", "obtain", "obtain_all"]
