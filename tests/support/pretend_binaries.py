"""Programs that only pretend to be a control plane: for what happens when a start goes wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fastgen_devcluster.versions import FAMILIES

SCRIPT = """#!/bin/sh
case "$1" in
  version|--version|-v) echo "{name} {version}"; exit 0 ;;
esac
{body}
"""
SLEEPS = "exec sleep 300"


def pretend_binaries(folder: Path, bodies: Mapping[str, str]) -> Path:
    """`folder`, with a shell script for every program: it runs what `bodies` has for it, by default it sleeps."""
    folder.mkdir()
    for family in FAMILIES:
        for program in family.programs:
            path = folder / program.name
            body = bodies.get(program.name, SLEEPS)
            path.write_text(SCRIPT.format(name=program.name, version=family.version, body=body))
            path.chmod(0o755)
    return folder
