"""A model hub on loopback: real HTTP, the few routes that huggingface_hub asks for a snapshot.

with FakeHub({"org/model": folder}) as hub:
    environment = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0"}
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FakeHub:
    """Serves folders as hub models at revision `main`; `gated` ones only to `token`."""

    def __init__(self, models: Mapping[str, Path], *, gated: tuple[str, ...] = (), token: str = "hf_right") -> None:
        self.models = dict(models)
        self.gated = gated
        self.token = token
        self.fetched: list[str] = []
        hub = self

        class Handler(_Handler):
            owner = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> FakeHub:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    owner: FakeHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        if parts[:2] == ["api", "models"]:
            self._send(*self._api(parts[2:]), with_body=with_body)
        else:
            self._send(*self._file(parts), with_body=with_body)

    def _api(self, parts: list[str]) -> tuple[int, bytes, dict[str, str]]:
        model, rest = "/".join(parts[:2]), parts[2:]
        folder = self.owner.models.get(model)
        if folder is None:
            return _error(401 if not self.headers.get("authorization") else 404, "RepoNotFound")
        revision = rest[1] if len(rest) > 1 else "main"
        if revision not in ("main", COMMIT):
            return _error(404, "RevisionNotFound")
        files = [path for path in sorted(folder.iterdir()) if path.is_file()]
        if rest[:1] == ["tree"]:
            tree = [{"type": "file", "path": f.name, "size": f.stat().st_size, "oid": _oid(f)} for f in files]
            return 200, json.dumps(tree).encode(), {"Content-Type": "application/json"}
        info = {"id": model, "sha": COMMIT, "siblings": [{"rfilename": f.name} for f in files]}
        return 200, json.dumps(info).encode(), {"Content-Type": "application/json"}

    def _file(self, parts: list[str]) -> tuple[int, bytes, dict[str, str]]:
        model, name = "/".join(parts[:2]), "/".join(parts[4:])
        allowed = self.headers.get("authorization") == f"Bearer {self.owner.token}"
        if model in self.owner.gated and not allowed:
            return _error(403 if self.headers.get("authorization") else 401, "GatedRepo")
        path = self.owner.models.get(model, Path("/nonexistent")) / name
        if not path.is_file():
            return _error(404, "EntryNotFound")
        if self.command == "GET":
            self.owner.fetched.append(name)
        return 200, path.read_bytes(), {"ETag": f'"{_oid(path)}"', "X-Repo-Commit": COMMIT}

    def _send(self, status: int, body: bytes, headers: Mapping[str, str], *, with_body: bool) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def _error(status: int, code: str) -> tuple[int, bytes, dict[str, str]]:
    return status, json.dumps({"error": code}).encode(), {"X-Error-Code": code, "X-Error-Message": code}


def _oid(path: Path) -> str:
    return hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest()
