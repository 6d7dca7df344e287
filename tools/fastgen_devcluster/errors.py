"""What devcluster raises on purpose."""

from __future__ import annotations

from fastgen.errors import FastGenError


class DevClusterError(FastGenError):
    """Something about a cluster on this machine; the message says what to do."""
