"""Images by name: which local command stands for an image's entry point."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from fastgen_devcluster.errors import DevClusterError


class Image(NamedTuple):
    """What a container of this image runs."""

    entry_point: tuple[str, ...]
    image_id: str
    """As a status shows it."""


class ImageNotFoundError(DevClusterError):
    """The table has no command for this image."""


def repository_of(reference: str) -> str:
    """`fastgen/serving` for `docker.io/fastgen/serving:0.1@sha256:...`: no registry, no tag, no digest."""
    name = reference.split("@", 1)[0]
    last_slash = name.rfind("/")
    if ":" in name[last_slash + 1 :]:
        name = name[: name.rfind(":")]
    first, _, rest = name.partition("/")
    if rest and ("." in first or ":" in first or first == "localhost"):
        name = rest
    return name.removeprefix("library/")


class ImageTable:
    """The table, a JSON file of repository to command, read anew at every look so that it can grow."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def find(self, reference: str) -> Image:
        """Raises ImageNotFoundError with what the table has, DevClusterError for a file that is no table."""
        table = read_table(self._path)
        repository = repository_of(reference)
        if repository not in table:
            known = ", ".join(sorted(table)) or "nothing"
            raise ImageNotFoundError(
                f'"{reference}": not found: no command stands for {repository} here; {self._path} has {known}'
            )
        command = tuple(table[repository])
        digest = hashlib.sha256("\0".join(command).encode()).hexdigest()
        return Image(command, f"{repository}@sha256:{digest}")


def read_table(path: Path) -> Mapping[str, Sequence[str]]:
    """The table in `path`, checked. Raises DevClusterError."""
    try:
        table = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DevClusterError(f"{path}: cannot be read as JSON ({error})") from None
    is_table = isinstance(table, dict) and all(
        isinstance(command, list) and command and all(isinstance(word, str) for word in command)
        for command in table.values()
    )
    if not is_table:
        raise DevClusterError(f'{path}: expected {{"IMAGE/REPOSITORY": ["COMMAND", "ARGUMENT", ...], ...}}')
    return {repository_of(name): command for name, command in table.items()}
