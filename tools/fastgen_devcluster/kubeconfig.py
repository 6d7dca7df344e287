"""Kubeconfig files: where an API server is, whom to trust there, and who one is.

Everything is inside the file (no paths), so it can be copied, and read by kubectl, helm, Prometheus and Python alike.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path

import yaml

from fastgen_devcluster.certificates import Certificate


def kubeconfig_text(*, cluster: str, server: str, authority: bytes, user: str, identity: Certificate) -> str:
    """A kubeconfig with one context, for `user` with a client certificate.

    `server` is a URL, `authority` the PEM of who signed the server's certificate.
    """
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {"name": cluster, "cluster": {"server": server, "certificate-authority-data": _encoded(authority)}}
            ],
            "users": [
                {
                    "name": user,
                    "user": {
                        "client-certificate-data": _encoded(identity.certificate),
                        "client-key-data": _encoded(identity.key),
                    },
                }
            ],
            "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": user}}],
            "current-context": cluster,
        },
        sort_keys=False,
    )


def write_kubeconfig(path: Path, text: str) -> Path:
    """Write it for its owner only: it holds a private key."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    return path


def _encoded(pem: bytes) -> str:
    return base64.b64encode(pem).decode()
