"""What operator, server and local deployments agree on: manifest, labels, ports, metric names. No torch."""

from __future__ import annotations

from fastgen.contract.loading import ManifestError, Problem, load_manifest, parse_manifest
from fastgen.contract.manifest import FastGenDeployment, FastGenDeploymentSpec, Metadata

__all__ = [
    "FastGenDeployment",
    "FastGenDeploymentSpec",
    "ManifestError",
    "Metadata",
    "Problem",
    "load_manifest",
    "parse_manifest",
]
