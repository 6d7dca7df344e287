"""Everything that is known of the cluster, in memory: a reconcile reads nothing else.

lists, watches, answers ──► Store ──wake(key)──► queue
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError

from fastgen.contract import FastGenDeployment, ManifestError, Problem, labels, parse_manifest
from fastgen.contract.status import FastGenDeploymentStatus
from fastgen_operator.api.kinds import CHILDREN, PODS, SERVICE_MONITORS, Kind
from fastgen_operator.changes import Ref, ref_of
from fastgen_operator.key import Key
from fastgen_operator.table import Table, name_of
from fastgen_operator.trimming import trimmed_child, trimmed_deployment, trimmed_pod

log = logging.getLogger("fastgen.operator")

Json = Mapping[str, Any]
Wake = Callable[[Key], None]


class Known(NamedTuple):
    """A FastGenDeployment as last heard of."""

    raw: Json
    deployment: FastGenDeployment | None
    """None where the manifest passed the API server's schema and not ours."""
    wrong: ManifestError | None
    """What is wrong with it."""

    @property
    def uid(self) -> str:
        return str(self.raw["metadata"]["uid"])

    @property
    def generation(self) -> int:
        return int(self.raw["metadata"].get("generation", 0))


class Store:
    """Deployments, their children and their pods."""

    def __init__(self, wake: Wake) -> None:
        self._wake = wake
        self._known: dict[Key, Known] = {}
        self._children: dict[Key, dict[Ref, Json]] = {}
        self._pods: dict[Key, dict[str, Json]] = {}
        self.deployments = Table(self._deployment_changed, trimmed_deployment)
        self.pods = Table(self._pod_changed, trimmed_pod)
        self.children: dict[Kind, Table] = {
            kind: Table(self._child_changed, trimmed_child) for kind in (*CHILDREN, SERVICE_MONITORS)
        }

    def table(self, kind: Kind) -> Table:
        """Where objects of a kind are kept."""
        return self.pods if kind == PODS else self.children[kind]

    def keys(self) -> list[Key]:
        """Deployments there are and that are not being deleted."""
        return [key for key in self._known if self.known(key) is not None]

    def known(self, key: Key) -> Known | None:
        """None where there is none, and where it is being deleted: its children are the garbage collector's then."""
        found = self._known.get(key)
        return None if found is None or "deletionTimestamp" in found.raw["metadata"] else found

    def status(self, key: Key) -> FastGenDeploymentStatus | None:
        """What was last written; None where nothing was, or where somebody else wrote into it."""
        found = self._known.get(key)
        if found is None or not found.raw.get("status"):
            return None
        try:
            return FastGenDeploymentStatus.model_validate(found.raw["status"])
        except ValidationError:
            return None

    def children_of(self, key: Key) -> Mapping[Ref, Json]:
        """Objects with our labels that name this deployment, whoever owns them."""
        return self._children.get(key, {})

    def pods_of(self, key: Key, component: str) -> Sequence[Json]:
        pods = self._pods.get(key, {}).values()
        return [pod for pod in pods if _labels(pod).get(labels.COMPONENT) == component]

    def _deployment_changed(self, before: Json | None, after: Json | None) -> None:
        if after is not None:
            key = Key(*name_of(after))
            self._known[key] = _known(after, self._known.get(key))
        elif before is not None:
            key = Key(*name_of(before))
            del self._known[key]
        self._wake(key)

    def _child_changed(self, before: Json | None, after: Json | None) -> None:
        self._index(before, after, self._children, ref_of)

    def _pod_changed(self, before: Json | None, after: Json | None) -> None:
        self._index(before, after, self._pods, _name_of)

    def _index(
        self,
        before: Json | None,
        after: Json | None,
        index: dict[Key, dict[Any, Json]],
        place: Callable[[Json], Any],
    ) -> None:
        """Keep an index by deployment: an object may change its labels, and with them whose it says it is."""
        if before is not None:
            for key in _keys_of(before):
                index[key].pop(place(before), None)
                if not index[key]:
                    del index[key]
        if after is not None:
            for key in _keys_of(after):
                index.setdefault(key, {})[place(after)] = after
        for key in {*_keys_of(before), *_keys_of(after)}:
            self._wake(key)


def _keys_of(thing: Json | None) -> Iterator[Key]:
    """Of which deployment: what its owner says counts, then its label."""
    if thing is None:
        return
    namespace = thing["metadata"].get("namespace") or ""
    for owner in thing["metadata"].get("ownerReferences") or ():
        if owner.get("kind") == labels.KIND and owner.get("apiVersion", "").startswith(f"{labels.GROUP}/"):
            yield Key(namespace, owner["name"])
            return
    name = _labels(thing).get(labels.DEPLOYMENT)
    if name is not None:
        yield Key(namespace, name)


def _known(raw: Json, before: Known | None) -> Known:
    """Parse where the spec may have changed; a new status is taken over without."""
    if before is not None and before.raw["metadata"].get("uid") == raw["metadata"].get("uid"):
        unchanged = before.generation == int(raw["metadata"].get("generation", -1))
        if unchanged and before.raw["metadata"].get("labels") == raw["metadata"].get("labels"):
            return before._replace(raw=raw)
    try:
        return Known(raw, parse_manifest({**raw, "status": None}, raw["metadata"]["name"]), None)
    except ManifestError as error:
        return Known(raw, None, error)
    except Exception as error:
        # A bug of ours, set off by one manifest: it must not keep the others from being looked after.
        name = raw["metadata"]["name"]
        log.exception("%s cannot be read", name)
        words = f"this operator cannot read it, which is a bug of the operator ({type(error).__name__}: {error})"
        return Known(raw, None, ManifestError(name, [Problem("spec", words)]))


def _labels(thing: Json) -> Mapping[str, str]:
    return thing["metadata"].get("labels") or {}


def _name_of(thing: Json) -> str:
    return str(thing["metadata"]["name"])
