"""Where the list of replicas comes from: written down (static), a file that is followed, or pods by label."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fastgen.errors import UsageError

if TYPE_CHECKING:
    from fastgen_server.balancer.config import BalancerConfig
    from fastgen_server.balancer.discovery.base import Discovery


def make_discovery(config: BalancerConfig, replicas: Sequence[str]) -> Discovery:
    """The one source that was given: `replicas` as written after --replica, or a file, or pods.

    Raises UsageError where there is none or more than one.
    """
    from fastgen_server.balancer.discovery.base import parse_replica
    from fastgen_server.balancer.discovery.file import FileDiscovery
    from fastgen_server.balancer.discovery.pods import PodDiscovery
    from fastgen_server.balancer.discovery.static import StaticDiscovery

    given = [bool(replicas), config.replicas_file is not None, config.pods_selector is not None]
    if sum(given) != 1:
        raise UsageError(
            "the balancer needs one source of replicas: --replica http=HOST:PORT,grpc=HOST:PORT (repeatable), "
            "--replicas-file FILE or --pods-selector LABELS" + ("; several were given" if any(given) else "")
        )
    if config.replicas_file is not None:
        return FileDiscovery(Path(config.replicas_file))
    if config.pods_selector is not None:
        return PodDiscovery(config.pods_selector, config.namespace)
    return StaticDiscovery([parse_replica(text) for text in replicas])
