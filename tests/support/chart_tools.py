"""helm and the chart, as tests use them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from fastgen_devcluster.cluster import DevCluster
from fastgen_devcluster.errors import DevClusterError

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "fastgen-operator"
RELEASE = "fastgen-operator"
SYSTEM = "fastgen-system"
Json = dict[str, Any]


class Helm:
    """One release of the chart (or of a changed copy of it) in one namespace."""

    def __init__(self, cluster: DevCluster, folder: Path, release: str = RELEASE, namespace: str = SYSTEM) -> None:
        self.cluster = cluster
        self.release = release
        self.namespace = namespace
        self._folder = folder
        self._num_files = 0
        self._rendered: dict[str, str] = {}

    def template(self, values: Mapping[str, Any], *more: str) -> list[Json]:
        """The objects that an installation would make, hooks included."""
        key = json.dumps([values, more])
        if key not in self._rendered:
            self._rendered[key] = self.cluster.helm("template", self.release, str(CHART), *self._words(values), *more)
        return [found for found in yaml.safe_load_all(self._rendered[key]) if found]

    def install(self, values: Mapping[str, Any], *more: str) -> str:
        return self.cluster.helm("install", self.release, str(CHART), *self._words(values), *more)

    def upgrade(self, values: Mapping[str, Any], *more: str, chart: Path = CHART) -> str:
        return self.cluster.helm("upgrade", self.release, str(chart), *self._words(values), *more)

    def uninstall(self) -> str:
        return self.cluster.helm("uninstall", self.release, "--namespace", self.namespace, "--wait")

    def test(self) -> str:
        return self.cluster.helm("test", self.release, "--namespace", self.namespace, "--timeout", "90s")

    def refusal(self, values: Mapping[str, Any]) -> str:
        """What helm says about values that it should not take; empty where it takes them."""
        try:
            self.template(values)
        except DevClusterError as error:
            return str(error)
        return ""

    def _words(self, values: Mapping[str, Any]) -> list[str]:
        self._num_files += 1
        path = self._folder / f"values-{self._num_files}.json"
        path.write_text(json.dumps(values), encoding="utf-8")
        return ["--namespace", self.namespace, "--values", str(path)]


def server_side_dry_run(cluster: DevCluster, objects: Sequence[Json]) -> str:
    """Have the API server judge objects as if they were made. Raises where it refuses one; returns its warnings."""
    words = ("--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict")
    command = cluster.kubectl_command("apply", *words, "--filename", "-")
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
    done = subprocess.run(
        command, env=cluster.environment(), input=text, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stderr
