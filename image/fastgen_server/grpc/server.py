"""The gRPC server: generation, health and reflection on one port."""

from __future__ import annotations

from typing import Any

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from fastgen.errors import UsageError
from fastgen.v1 import generation_pb2, generation_pb2_grpc
from fastgen_server.generation import GenerationService
from fastgen_server.grpc.servicer import GenerationServicer

SERVICE = generation_pb2.DESCRIPTOR.services_by_name["Generation"].full_name
FINISH_SECONDS = 5.0


class GrpcServer:
    """Takes its port when made, so that one in use is known before a model is loaded; serves from `start` on."""

    def __init__(self, host: str, port: int, max_body_bytes: int) -> None:
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", max_body_bytes),
                ("grpc.so_reuseport", 0),  # two servers on one port would share its calls silently
                ("grpc.keepalive_time_ms", 30_000),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            ]
        )
        self._health: Any = health.aio.HealthServicer()  # type: ignore[attr-defined]  # the stubs lack it
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            self.port: int = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise UsageError(
                f"cannot listen on {address} for gRPC: {error}; choose another --grpc-port, or 0 for any free one"
            ) from error

    async def start(self, service: GenerationService) -> None:
        generation_pb2_grpc.add_GenerationServicer_to_server(GenerationServicer(service), self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)
        await self._server.start()
        await self.set_serving(True)

    async def set_serving(self, serving: bool) -> None:
        """What grpc.health.v1.Health says, of the server as a whole and of the service by name."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", SERVICE):
            await self._health.set(name, status)

    async def stop(self) -> None:
        """Close the port; calls still open have a few seconds for their last bytes."""
        await self._server.stop(FINISH_SECONDS)
