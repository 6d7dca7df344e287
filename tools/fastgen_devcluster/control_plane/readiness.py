"""When a part of the cluster is ready. Each check answers None, or what it still waits for."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Sequence

from fastgen_devcluster.api import Api, ApiError

ANSWER_SECONDS = 5.0


def api_server(api: Api) -> str | None:
    """It serves and all its start-up hooks have run."""
    try:
        api.call("GET", "/readyz", timeout=ANSWER_SECONDS)
    except ApiError as error:
        return str(error)
    except OSError as error:
        return f"/readyz: {error}"
    return None


def controllers(api: Api) -> str | None:
    """Pods can be made in the default namespace: their service account and the authority they trust are there."""
    for path in ("serviceaccounts/default", "configmaps/kube-root-ca.crt"):
        try:
            api.call("GET", f"/api/v1/namespaces/default/{path}", timeout=ANSWER_SECONDS)
        except (ApiError, OSError) as error:
            return f"{path}: {error}"
    return None


def nodes(api: Api, names: Sequence[str]) -> str | None:
    """Every node of these names is Ready."""
    try:
        found = api.get("/api/v1/nodes")["items"]
    except (ApiError, OSError) as error:
        return f"nodes: {error}"
    ready = {
        node["metadata"]["name"]
        for node in found
        for condition in node.get("status", {}).get("conditions", ())
        if condition["type"] == "Ready" and condition["status"] == "True"
    }
    missing = [name for name in names if name not in ready]
    return f"not Ready: {', '.join(missing)}" if missing else None


def http_ok(url: str) -> str | None:
    """`url` answers with a status below 400."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=ANSWER_SECONDS):
            return None
    except (OSError, urllib.error.HTTPError) as error:
        return f"{url}: {error}"
