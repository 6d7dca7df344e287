"""Which HTTP headers go through. Those about one connection stay behind (RFC 9110, section 7.6.1)."""

from __future__ import annotations

from collections.abc import Mapping

from multidict import CIMultiDict, CIMultiDictProxy

_HOP_BY_HOP = (
    "Connection",
    "Keep-Alive",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "Proxy-Connection",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
)


def end_to_end(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    """The headers without those of the hop, the ones that `Connection` names included."""
    kept = CIMultiDict(headers)
    for value in headers.getall("Connection", ()):
        for name in value.split(","):
            kept.popall(name.strip(), None)
    for name in _HOP_BY_HOP:
        kept.popall(name, None)
    return kept


def request_headers(headers: CIMultiDictProxy[str], *, client_ip: str | None) -> CIMultiDict[str]:
    """What a replica is sent. The body's length is set anew: it is known by then."""
    kept = end_to_end(headers)
    kept.popall("Content-Length", None)
    kept.popall("Expect", None)
    if client_ip is not None:
        before = ", ".join(kept.popall("X-Forwarded-For", []))
        kept["X-Forwarded-For"] = f"{before}, {client_ip}" if before else client_ip
    return kept


def is_event_stream(headers: Mapping[str, str]) -> bool:
    return headers.get("Content-Type", "").startswith("text/event-stream")
