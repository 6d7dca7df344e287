"""The few calls to the API server that the devcluster makes itself, with nothing but the standard library."""

from __future__ import annotations

import http.client
import json
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fastgen_devcluster.errors import DevClusterError

USER_AGENT = "fastgen-devcluster"


class ApiError(DevClusterError):
    """The API server refused, with the status it gave."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"the API server answered {status}: {message}")
        self.status = status


class Api:
    """One server, one identity. A call that cannot connect raises OSError."""

    def __init__(self, server: str, *, authority: Path, certificate: Path, key: Path) -> None:
        self._address = urlsplit(server).netloc
        self._tls = ssl.create_default_context(cafile=str(authority))
        self._tls.load_cert_chain(certificate, key)

    def get(self, path: str) -> Any:
        return json.loads(self.call("GET", path))

    def apply(self, path: str, manifest: dict[str, Any]) -> None:
        """Server-side apply."""
        self.call(
            "PATCH",
            f"{path}?fieldManager={USER_AGENT}&force=true",
            manifest,
            content_type="application/apply-patch+yaml",
        )

    def call(
        self, method: str, path: str, body: Any = None, *, content_type: str = "application/json", timeout: float = 10.0
    ) -> str:
        """The body of the answer. Raises ApiError for a status of 400 and above."""
        connection = http.client.HTTPSConnection(self._address, timeout=timeout, context=self._tls)
        headers = {"User-Agent": USER_AGENT, "Accept": "application/json", "Content-Type": content_type}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()
        if answer.status >= 400:
            raise ApiError(answer.status, _message(text))
        return text


def _message(text: str) -> str:
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text.strip()
