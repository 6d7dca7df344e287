"""Getting at the API server: from a pod's service account, or a kubeconfig."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kubernetes.aio import client, config
from kubernetes.aio.client import rest

import fastgen
from fastgen.errors import UsageError

OnAnswer = Callable[[str, str, str], None]
"""Told verb, resource and HTTP status (or the kind of failure) of every call."""

USER_AGENT = f"fastgen-operator/{fastgen.__version__}"
_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


async def connect(on_answer: OnAnswer = lambda _verb, _resource, _code: None) -> client.ApiClient:
    """A client whose every call is told to `on_answer`. Raises UsageError where no way to a cluster is known."""
    configuration: Any = client.Configuration()
    configuration.connection_pool_maxsize = 0
    await _load(configuration)
    api = client.ApiClient(configuration)
    api.user_agent = USER_AGENT
    api.rest_client = _Counted(configuration, on_answer)
    return api


async def reload(api: client.ApiClient) -> None:
    """Read the credentials again: a token in a kubeconfig's file is replaced while we run."""
    await _load(api.configuration)


async def _load(configuration: Any) -> None:
    access: Any = config
    try:
        access.load_incluster_config(client_configuration=configuration)
        return
    except access.ConfigException:
        pass
    try:
        await access.load_kube_config(client_configuration=configuration)
    except (access.ConfigException, OSError) as error:
        raise UsageError(
            f"no way to a cluster is known: not in a pod with a service account, and no kubeconfig ({error}); "
            "set KUBECONFIG to a file that `kubectl` works with"
        ) from None


def own_namespace() -> str:
    """The pod's namespace, else the kubeconfig's, else "default"."""
    if _OWN_NAMESPACE.exists():
        return _OWN_NAMESPACE.read_text(encoding="utf-8").strip()
    if found := os.environ.get("POD_NAMESPACE"):
        return found
    access: Any = config
    try:
        _, active = access.list_kube_config_contexts()
    except (access.ConfigException, OSError):
        return "default"
    return str(active["context"].get("namespace") or "default")


def own_name() -> str:
    """The pod's name, which no two processes share; outside of pods the host's with our process id."""
    if found := os.environ.get("POD_NAME"):
        return found
    host = socket.gethostname()
    return host if _OWN_NAMESPACE.exists() else f"{host}-{os.getpid()}"


class _Counted(rest.RESTClientObject):
    """Tells of every call."""

    def __init__(self, configuration: Any, on_answer: OnAnswer) -> None:
        super().__init__(configuration)
        self._on_answer = on_answer

    async def request(self, method: str, url: str, *args: Any, **more: Any) -> Any:
        verb, resource = describe(method, url, more.get("headers") or {})
        try:
            answer = await super().request(method, url, *args, **more)  # type: ignore[no-untyped-call]
        except Exception as error:
            self._on_answer(verb, resource, type(error).__name__)
            raise
        self._on_answer(verb, resource, str(answer.status))
        return answer


def describe(method: str, url: str, headers: dict[str, str]) -> tuple[str, str]:
    """Verb and resource in Kubernetes' words: ("watch", "pods"), ("apply", "fastgendeployments/status")."""
    parts = urlsplit(url)
    steps = parts.path.strip("/").split("/")
    steps = steps[2:] if steps[0] == "api" else steps[3:]
    if steps[:1] == ["namespaces"] and len(steps) > 2:
        steps = steps[2:]
    resource = "/".join(step for index, step in enumerate(steps) if index != 1) or "discovery"
    verb = _VERBS.get(method, method.lower())
    if verb == "get" and len(steps) == 1:
        verb = "watch" if "watch=true" in parts.query.lower() else "list"
    if headers.get("Content-Type", "").startswith("application/apply-patch"):
        verb = "apply"
    return verb, resource
