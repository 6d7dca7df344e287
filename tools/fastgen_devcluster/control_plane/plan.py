"""What a supervisor is told by whoever starts it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fastgen_devcluster.options import ClusterOptions
from fastgen_devcluster.state import ProcessId


@dataclass(frozen=True)
class Plan:
    """What the supervisor is to do."""

    options: ClusterOptions
    binaries: Mapping[str, Path]
    parent: ProcessId | None
    """The cluster ends when this process does; none where it goes on by itself."""

    def to_json(self) -> str:
        binaries = {name: str(path) for name, path in self.binaries.items()}
        return json.dumps({"options": self.options.to_json(), "binaries": binaries, "parent": self.parent})

    @classmethod
    def from_json(cls, text: str) -> Plan:
        values = json.loads(text)
        return cls(
            options=ClusterOptions.from_json(values["options"]),
            binaries={name: Path(path) for name, path in values["binaries"].items()},
            parent=ProcessId(*values["parent"]) if values["parent"] else None,
        )
