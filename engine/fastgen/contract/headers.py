"""HTTP headers that FastGen's own parts say to each other."""

from __future__ import annotations

from typing import Final

OUTSTANDING_TOKENS: Final = "Fastgen-Outstanding-Tokens"
"""In the answer of a replica's /readyz: tokens not yet computed of everything queued or running there, whoever
sent it. Balancers read it, for each knows only its own requests."""
