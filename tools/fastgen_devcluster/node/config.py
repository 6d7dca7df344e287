"""How a process node is configured. Each field's docstring is its `--help`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fastgen.contract.quantities import parse_quantity
from fastgen.errors import UsageError
from fastgen_devcluster.node.backoff import FIRST_SECONDS, MOST_SECONDS


@dataclass(frozen=True, kw_only=True)
class NodeConfig:
    """One process that plays one or more nodes."""

    kubeconfig: str
    """Where the API server is, and who this is there; a client certificate."""

    nodes: str
    """Names of the nodes, separated by commas."""

    folder: str
    """Where pods live: FOLDER/pods/NAMESPACE_POD/CONTAINER/N.log and their volumes. Made if it is not there."""

    images: str
    """JSON file {"image/repository": ["command", "argument"]}: what runs for an image's entry point. It may grow."""

    gpus: int = 8
    """nvidia.com/gpu each node says it has. There are none: the number is for the scheduler."""

    cpus: str = "16"
    """CPU cores each node says it has. All nodes share this machine's."""

    memory: str = "64Gi"
    """Memory each node says it has. All nodes share this machine's."""

    backoff_first_seconds: float = FIRST_SECONDS
    """The first wait before a container that keeps ending is started again; each next one is twice as long."""

    backoff_most_seconds: float = MOST_SECONDS
    """The longest such wait."""

    stop_seconds: float = 5.0
    """How long pods' processes have to end by themselves when the node itself is ended."""


@dataclass(frozen=True, kw_only=True)
class NodeSettings:
    """The same, checked, with what can be given several times."""

    config: NodeConfig
    host_paths: Mapping[str, Path] = field(default_factory=dict)
    """Node path to the local folder that stands for it."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """What every container gets besides its own."""

    def __post_init__(self) -> None:
        if not self.node_names:
            raise UsageError("--nodes: name at least one node, such as node-0")
        for name in ("cpus", "memory"):
            try:
                parse_quantity(getattr(self.config, name))
            except ValueError as error:
                raise UsageError(f"--{name}: {error}") from None
        for path, folder in self.host_paths.items():
            if not path.startswith("/"):
                raise UsageError(f"--host-path {path}={folder}: '{path}' is no absolute path on a node")
            if not folder.is_dir():
                raise UsageError(f"--host-path {path}={folder}: there is no folder {folder} on this machine")

    @property
    def node_names(self) -> tuple[str, ...]:
        return tuple(name.strip() for name in self.config.nodes.split(",") if name.strip())

    @property
    def folder(self) -> Path:
        return Path(self.config.folder).absolute()

    def capacity(self, pods: int) -> dict[str, str]:
        """What each node says it has."""
        shown = {"cpu": self.config.cpus, "memory": self.config.memory, "ephemeral-storage": "100Gi", "pods": str(pods)}
        return shown | ({"nvidia.com/gpu": str(self.config.gpus)} if self.config.gpus else {})


def parse_pairs(flag: str, given: list[str]) -> dict[str, str]:
    """`NAME=VALUE` texts as a mapping. Raises UsageError."""
    pairs = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise UsageError(f"{flag} {text}: expected NAME=VALUE")
        pairs[name] = value
    return pairs


def parse_host_paths(given: list[str]) -> dict[str, Path]:
    return {path: Path(os.path.abspath(folder)) for path, folder in parse_pairs("--host-path", given).items()}
