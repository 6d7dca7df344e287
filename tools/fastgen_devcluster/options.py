"""What a cluster is made of. Each field's docstring is its `--help`, where it has a flag."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fastgen.errors import UsageError

MAX_NAME_LENGTH = 40
MAX_NODES = 50
MAX_KWOK_NODES = 1000

FASTGEN_COMMAND = (sys.executable, "-m", "fastgen_server")
DEFAULT_IMAGES: Mapping[str, tuple[str, ...]] = {
    "fastgen/serving": FASTGEN_COMMAND,
    "fastgen/operator": FASTGEN_COMMAND,
}
"""Image repositories, and what a process node runs for their entry point: this environment's `fastgen`."""


@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """One cluster on this machine."""

    name: str = "dev"
    """What the cluster is called; several with different names run side by side."""

    nodes: int = 2
    """How many nodes the process node plays: node-0, node-1, ..."""

    gpus_per_node: int = 8
    """nvidia.com/gpu each of them says it has."""

    process_node: bool = True
    """Run pods as processes of this machine. Without it, pods stay Pending."""

    kwok_nodes: int = 0
    """How many nodes kwok plays besides: fake-0, fake-1, ... Nothing runs there, so hundreds will do; 0: no kwok."""

    prometheus: bool = True
    """Run Prometheus."""

    prometheus_config: Path | None = None
    """Scrape configuration for Prometheus; none takes one that follows the pods' prometheus.io/* annotations."""

    scrape_interval_seconds: int = 2
    """How often Prometheus asks, whatever its configuration says; a demonstration has no minutes to wait."""

    images: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: dict(DEFAULT_IMAGES))
    """Image repository to the local command that stands for its entry point."""

    host_paths: Mapping[str, Path] = field(default_factory=dict)
    """Path on a node to the local folder that stands for it."""

    ready_seconds: float = 90.0
    """How long a component may take to become ready before the start is given up."""

    keep_logs_in: Path | None = None
    """Copy every log into this folder when the cluster ends; otherwise they go with it."""

    def __post_init__(self) -> None:
        check_name(self.name)
        limits = (
            ("nodes", 0, MAX_NODES),
            ("kwok_nodes", 0, MAX_KWOK_NODES),
            ("gpus_per_node", 0, 64),
            ("scrape_interval_seconds", 1, 60),
        )
        for name, low, high in limits:
            if not low <= getattr(self, name) <= high:
                raise UsageError(f"{name}={getattr(self, name)}: allowed are {low} to {high}")
        if not self.ready_seconds > 0:
            raise UsageError(f"ready_seconds={self.ready_seconds}: it has to be more than 0")
        for where, folder in self.host_paths.items():
            if not where.startswith("/"):
                raise UsageError(f"host_paths: '{where}' is no absolute path on a node")
            if not folder.is_dir():
                raise UsageError(f"host_paths: {folder} (for {where}) is no folder on this machine")
        if self.prometheus_config is not None and not self.prometheus_config.is_file():
            raise UsageError(f"prometheus_config: there is no file {self.prometheus_config}")

    @property
    def node_names(self) -> tuple[str, ...]:
        return tuple(f"node-{index}" for index in range(self.nodes))

    def to_json(self) -> str:
        """For another process; paths become absolute."""
        values = asdict(self)
        values["host_paths"] = {where: str(folder.absolute()) for where, folder in self.host_paths.items()}
        for name in ("prometheus_config", "keep_logs_in"):
            path: Path | None = getattr(self, name)
            values[name] = None if path is None else str(path.absolute())
        return json.dumps(values)

    @classmethod
    def from_json(cls, text: str) -> ClusterOptions:
        values = json.loads(text)
        values["images"] = {image: tuple(command) for image, command in values["images"].items()}
        values["host_paths"] = {where: Path(folder) for where, folder in values["host_paths"].items()}
        for name in ("prometheus_config", "keep_logs_in"):
            values[name] = None if values[name] is None else Path(values[name])
        return cls(**values)


def check_name(name: str) -> str:
    """`name` if it can be a cluster's. Raises UsageError. (It becomes a folder, so it must be harmless.)"""
    if not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name) or len(name) > MAX_NAME_LENGTH:
        raise UsageError(
            f"'{name}' cannot name a cluster; allowed are lower-case letters, digits and '-', beginning with a "
            f"letter, at most {MAX_NAME_LENGTH}"
        )
    return name


def host_path(text: str) -> tuple[str, Path]:
    """`PATH=FOLDER` as an entry of `host_paths`. Raises UsageError."""
    where, equals, folder = text.partition("=")
    if not equals or not folder:
        raise UsageError(f"'{text}' is not PATH=FOLDER, such as /var/lib/fastgen/models=examples/models")
    return where, Path(folder).absolute()
