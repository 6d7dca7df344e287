"""A local file server that can break off, redirect, ignore ranges, and remembers what it was asked."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Asked(NamedTuple):
    """One request."""

    method: str
    path: str
    range: str | None


class FileServer:
    """What it serves, and how."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.files: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.cuts: list[int] = []
        """The next answers with a body break off after so many bytes, one entry for each."""
        self.honours_ranges = True
        self.asked: list[Asked] = []

    def serve(self, path: str, content: bytes) -> str:
        """Put a file there; its SHA-256."""
        self.files[path] = content
        return hashlib.sha256(content).hexdigest()

    def gets(self) -> list[Asked]:
        """The GET requests so far."""
        return [asked for asked in self.asked if asked.method == "GET"]


class _Handler(BaseHTTPRequestHandler):
    files: FileServer

    def do_HEAD(self) -> None:
        self._note()
        self.send_response(404)
        self.end_headers()

    def do_GET(self) -> None:
        self._note()
        if self.path in self.files.redirects:
            self.send_response(302)
            self.send_header("Location", self.files.redirects[self.path])
            self.end_headers()
            return
        content = self.files.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        self._send(content)

    def _send(self, content: bytes) -> None:
        first = 0
        asked_range = self.headers.get("Range")
        if asked_range and self.files.honours_ranges:
            first = int(asked_range.removeprefix("bytes=").rstrip("-"))
            if first >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        body = content[first:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.files.cuts:
            body = body[: self.files.cuts.pop(0)]
            self.close_connection = True
        self.wfile.write(body)

    def _note(self) -> None:
        self.files.asked.append(Asked(self.command, self.path, self.headers.get("Range")))

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@contextlib.contextmanager
def file_server() -> Iterator[FileServer]:
    """A server on a free port of loopback for as long as the `with` lasts."""
    handler = type("Handler", (_Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    files = handler.files = FileServer(f"http://127.0.0.1:{server.server_port}")  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield files
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
