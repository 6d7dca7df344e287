"""What an operator asked of the API server, and whether somebody with fewer rights could have asked it too."""

from __future__ import annotations

import json
import ssl
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import httpx
from chart_tools import Json
from kubernetes import client, config

from fastgen_devcluster.cluster import DevCluster


class Grant(NamedTuple):
    """One right: a verb on a resource, of one rule of one role."""

    role: str
    group: str
    resource: str
    verb: str
    only: str = ""
    """The one object it is for; empty means any."""

    def __str__(self) -> str:
        return (
            f"{self.verb} {self.resource}{f'.{self.group}' if self.group else ''}{f' {self.only}' if self.only else ''}"
        )

    def rule(self) -> Json:
        found: Json = {"apiGroups": [self.group], "resources": [self.resource], "verbs": [self.verb]}
        return {**found, "resourceNames": [self.only]} if self.only else found


def grants_of(role: Json) -> list[Grant]:
    """Every single right of a Role or ClusterRole."""
    return [
        Grant(role["metadata"]["name"], group, resource, verb, only)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for only in rule.get("resourceNames", [""])
    ]


class Asked(NamedTuple):
    """One request of the audit log."""

    verb: str
    group: str
    resource: str
    """With its subresource, as roles name it."""
    made_it: bool
    """It made an object that was not there."""
    code: int
    uri: str
    body: Json | None

    @property
    def what(self) -> str:
        """What it was, in a few words; requests of the same words need the same rights."""
        return f"{self.verb} {self.resource}"


def asked_by(audit_log: Path, user: str) -> list[Asked]:
    """Everything a user asked for, except what every user may ask (which kinds there are)."""
    found = []
    with audit_log.open(encoding="utf-8") as lines:
        for line in lines:
            event = json.loads(line)
            about = event.get("objectRef")
            if event["user"].get("username") != user or about is None or event["stage"] == "ResponseStarted":
                continue
            resource = "/".join(filter(None, (about["resource"], about.get("subresource"))))
            code = event["responseStatus"]["code"]
            found.append(
                Asked(
                    event["verb"],
                    about.get("apiGroup", ""),
                    resource,
                    code == 201,
                    code,
                    event["requestURI"],
                    event.get("requestObject"),
                )
            )
    return found


def samples(asked: Iterable[Asked]) -> dict[str, Asked]:
    """One request of every sort; where there is one, one that made what was not there."""
    return {each.what: each for each in sorted(asked, key=lambda each: each.made_it)}


class Replay:
    """Asks again as somebody else, without changing anything (`dryRun`), in another namespace."""

    def __init__(self, cluster: DevCluster, before: str, after: str) -> None:
        self._before, self._after = before, after
        connection = config.new_client_from_config(str(cluster.kubeconfig))  # type: ignore[no-untyped-call]
        known: client.Configuration = connection.configuration
        trust = ssl.create_default_context(cafile=known.ssl_ca_cert)
        assert known.cert_file is not None
        trust.load_cert_chain(known.cert_file, known.key_file)
        self._http = httpx.Client(base_url=known.host, verify=trust, timeout=30.0)
        connection.close()

    def close(self) -> None:
        self._http.close()

    def is_forbidden(self, asked: Asked, user: str) -> bool:
        """Whether the API server refuses `user` for want of a right."""
        parts = urlsplit(asked.uri)
        path = parts.path.replace(f"/namespaces/{self._before}/", f"/namespaces/{self._after}/")
        query = dict(parse_qsl(parts.query))
        body = self.moved(asked.body) if asked.verb != "update" else asked.body
        if asked.verb in _METHODS:
            query["dryRun"] = "All"
        request = self._http.build_request(
            _METHODS.get(asked.verb, "GET"),
            path,
            params=query,
            headers={"Impersonate-User": user, "Content-Type": _content_type(asked)},
            content=json.dumps(body) if body is not None else None,
        )
        answer = self._http.send(request, stream=True)  # of a watch, the first word is enough
        try:
            if answer.status_code == 403:
                return True
            # Whatever else is wrong with it (it exists already, it is not there), the right to ask was there.
            assert answer.status_code not in (400, 401, 415, 422), answer.read().decode()
            return False
        finally:
            answer.close()

    def moved(self, body: Json | None) -> Json | None:
        """The same for another namespace, where objects have other identities."""
        if body is None:
            return None
        text = json.dumps(body).replace(f'"namespace": "{self._before}"', f'"namespace": "{self._after}"')
        moved: Json = json.loads(text)
        for name in ("uid", "resourceVersion"):
            moved.get("metadata", {}).pop(name, None)
            moved.get("preconditions", {}).pop(name, None)
        return moved


WRITES = frozenset({"create", "update", "patch", "delete"})
_METHODS = {"create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE"}


def _content_type(asked: Asked) -> str:
    """The audit log does not tell; an apply says what it applies, a merge patch does not."""
    if asked.verb != "patch":
        return "application/json"
    is_whole = asked.body is not None and "kind" in asked.body
    return "application/apply-patch+yaml" if is_whole else "application/merge-patch+json"


def users_without(cluster: DevCluster, roles: Sequence[Json], grants: Sequence[Grant], namespace: str) -> list[str]:
    """Make a user for each grant who has all others, and one who has all. The names, that of the last one last."""
    names = [f"without-{index}" for index in range(len(grants))] + ["with-everything"]
    objects: list[Json] = []
    for role in roles:
        name, kind = role["metadata"]["name"], role["kind"]
        whole = [user for user, grant in zip(names, [*grants, None], strict=True) if not grant or grant.role != name]
        objects += _given(f"test-{name}", kind, role["rules"], whole, namespace)
        for user, grant in zip(names, grants, strict=False):
            if grant.role == name:
                rest = [other.rule() for other in grants if other.role == name and other != grant]
                objects += _given(f"test-{user}", kind, rest, [user], namespace)
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    command = cluster.kubectl_command("create", "--filename", "-")
    done = subprocess.run(
        command, env=cluster.environment(), input=text, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return names


def _given(name: str, kind: str, rules: list[Json], users: list[str], namespace: str) -> Iterator[dict[str, Any]]:
    """A role and its binding to some users."""
    metadata = {"name": name} if kind == "ClusterRole" else {"name": name, "namespace": namespace}
    api = "rbac.authorization.k8s.io"
    yield {"apiVersion": f"{api}/v1", "kind": kind, "metadata": metadata, "rules": rules}
    yield {
        "apiVersion": f"{api}/v1",
        "kind": f"{kind}Binding",
        "metadata": metadata,
        "roleRef": {"apiGroup": api, "kind": kind, "name": name},
        "subjects": [{"apiGroup": api, "kind": "User", "name": user} for user in users],
    }
