"""A deployment seen from outside, through what its supervisor wrote down, for the live view."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from demo.deployment import Deployment
from fastgen.local_state import DeploymentRecord, DeploymentState
from fastgen_server.local.decisions import Slot
from fastgen_server.local.processes import Addresses


class WrittenDown:
    """What `fastgen_server.local.observer.Observer` looks at; `look` reads the folder again."""

    def __init__(self, deployment: Deployment, record: DeploymentRecord) -> None:
        self._deployment = deployment
        self._record = record
        self.slots = {f"replica-{i}": Slot(f"replica-{i}", "replica") for i in range(record.replicas)}
        self.slots["balancer"] = Slot("balancer", "balancer")
        self.addresses: dict[str, Addresses] = {}
        self.look()

    @property
    def name(self) -> str:
        return self._record.name

    @property
    def model(self) -> str:
        return self._record.model

    @property
    def state(self) -> DeploymentState:
        return self._record.state

    def heard_from(self, name: str) -> None:
        """Not ours to judge: the supervisor does."""

    def look(self) -> None:
        """Raises DemoError where the deployment has ended."""
        self._record = self._deployment.record() or self._record
        ready = {entry["http"] for entry in self._json("replicas.json") or []} | {self._record.http}
        for name, slot in self.slots.items():
            found = self._json(f"{name}.address.json")
            if found is None or found["http"] not in ready:
                self.addresses.pop(name, None)
                self.slots[name] = dataclasses.replace(slot, phase="starting")
                continue
            self.addresses[name] = Addresses(found["http"], found["grpc"])
            restarted = slot.pid is not None and slot.pid != found["pid"]
            self.slots[name] = dataclasses.replace(
                slot, phase="ready", pid=found["pid"], restarts=slot.restarts + restarted
            )

    def _json(self, name: str) -> Any:
        try:
            return json.loads((self._deployment.folder / name).read_text())
        except (OSError, ValueError):
            return None
