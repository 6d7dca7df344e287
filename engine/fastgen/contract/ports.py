"""Every port number FastGen listens on unless told otherwise."""

from __future__ import annotations

from typing import Final

REPLICA_HTTP: Final = 8000
REPLICA_GRPC: Final = 8001
BALANCER_HTTP: Final = 8080
BALANCER_GRPC: Final = 8081
SERVICE_HTTP: Final = 80
SERVICE_GRPC: Final = 81
"""The Service maps SERVICE_* to the balancer's BALANCER_*."""

NAME_HTTP: Final = "http"
NAME_GRPC: Final = "grpc"
"""Names of container and Service ports; probes, Services and monitors refer to them. `/metrics` is on http."""
