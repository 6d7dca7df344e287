"""Where what was measured on this machine is kept, so that the next start need not measure again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """$FASTGEN_CACHE, or $XDG_CACHE_HOME/fastgen, or ~/.cache/fastgen. Not created here."""
    chosen = os.environ.get("FASTGEN_CACHE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "fastgen"
