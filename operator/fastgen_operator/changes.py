"""What to do so that what exists becomes what should exist. Pure.

what should be  ┐
what there is   ├──plan_changes()──►  applies · prunes · what stands in the way
what we did     ┘
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from fastgen.contract import labels
from fastgen_operator.desired.common import KubeObject, hash_of
from fastgen_operator.ownership import Edit, edits_of, owned_fields

Json = Mapping[str, Any]


class Ref(NamedTuple):
    """One child, within the namespace of its deployment."""

    api_version: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def ref_of(thing: Json) -> Ref:
    return Ref(thing["apiVersion"], thing["kind"], thing["metadata"]["name"])


class Applied(NamedTuple):
    """What we remember of an apply."""

    content: str
    """Hash of what was sent."""
    uid: str
    """Of the object it made or changed."""
    fields: Any
    """The fields that were ours afterwards."""
    tolerated: tuple[Edit, ...] = ()
    """What others had set even then: putting it back changed nothing, as where they set what would be so anyway."""


Why = Literal["missing", "new", "changed", "drifted", "adopted"]
"""missing: it is not there. new: nothing is remembered, as after a restart. changed: the manifest, or what the cluster
has. drifted: somebody changed our fields. adopted: it carries our labels, and nobody owns it."""


class Apply(NamedTuple):
    """Send `content`."""

    ref: Ref
    content: KubeObject
    why: Why
    uid: str | None
    """The object to change; None where it must not exist yet."""
    edits: tuple[Edit, ...]
    """What others set in it, to be undone first."""
    was_known: bool
    """We had made it before: whoever removed or changed it was somebody else."""


class Prune(NamedTuple):
    """Delete what should not be any more."""

    ref: Ref
    uid: str


class Foreign(NamedTuple):
    """An object of that name is somebody else's."""

    ref: Ref
    owner: str


@dataclass(frozen=True)
class Plan:
    """What to do, in this order."""

    applies: tuple[Apply, ...] = ()
    prunes: tuple[Prune, ...] = ()
    foreign: tuple[Foreign, ...] = ()
    leaving: tuple[Ref, ...] = ()
    """Objects that are being deleted, and will be made again once they are gone."""

    @property
    def is_empty(self) -> bool:
        return not self.applies and not self.prunes


def plan_changes(
    desired: Sequence[KubeObject],
    live: Mapping[Ref, Json],
    remembered: Mapping[Ref, Applied],
    owner_uid: str,
) -> Plan:
    """Compare. `live` holds what carries our labels in the deployment's namespace, and names its deployment."""
    applies: list[Apply] = []
    foreign: list[Foreign] = []
    leaving: list[Ref] = []
    for content in desired:
        ref = ref_of(content)
        thing, before = live.get(ref), remembered.get(ref)
        if thing is None:
            applies.append(Apply(ref, content, "missing", None, (), before is not None))
            continue
        standing = standing_of(thing, owner_uid, _deployment_of(content))
        if standing == "foreign":
            foreign.append(Foreign(ref, owner_text(thing)))
        elif standing == "leaving":
            leaving.append(ref)
        else:
            edits = _edits(thing, before)
            if (why := _why(content, thing, before, standing, edits)) is not None:
                applies.append(Apply(ref, content, why, thing["metadata"]["uid"], edits, before is not None))
    wanted = {ref_of(content) for content in desired}
    prunes = [
        Prune(ref, thing["metadata"]["uid"])
        for ref, thing in live.items()
        if ref not in wanted and _is_owned(thing, owner_uid) and "deletionTimestamp" not in thing["metadata"]
    ]
    return Plan(tuple(applies), tuple(prunes), tuple(foreign), tuple(leaving))


Standing = Literal["ours", "adoptable", "leaving", "foreign"]


def standing_of(thing: Json, owner_uid: str, deployment: str) -> Standing:
    """What a live object of a name we want is to us."""
    metadata = thing["metadata"]
    if "deletionTimestamp" in metadata:
        return "leaving"
    if _is_owned(thing, owner_uid):
        return "ours"
    owner = _controller(thing)
    if owner is None:
        found = metadata.get("labels") or {}
        is_marked = found.get(labels.MANAGED_BY) == labels.FIELD_MANAGER and found.get(labels.DEPLOYMENT) == deployment
        # Left over by `kubectl delete --cascade=orphan`, which is how one takes a deployment away and keeps it running.
        return "adoptable" if is_marked else "foreign"
    # Of an earlier deployment of the same name: the garbage collector is about to delete it.
    is_ancestor = owner.get("kind") == labels.KIND and owner.get("name") == deployment
    return "leaving" if is_ancestor else "foreign"


def owner_text(thing: Json) -> str:
    """Whose it is, for a message."""
    owner = _controller(thing)
    return "nobody's" if owner is None else f"{owner.get('kind')} {owner.get('name')}'s"


def _edits(thing: Json, before: Applied | None) -> tuple[Edit, ...]:
    if before is None:
        return edits_of(thing, owned_fields(thing))
    return tuple(edit for edit in edits_of(thing, before.fields) if edit not in before.tolerated)


def _why(
    content: KubeObject, thing: Json, before: Applied | None, standing: Standing, edits: tuple[Edit, ...]
) -> Why | None:
    if standing == "adoptable":
        return "adopted"
    if before is None or before.uid != thing["metadata"]["uid"]:
        return "new"
    if before.content != hash_of(content):
        return "changed"
    return "drifted" if edits or owned_fields(thing) != before.fields else None


def _is_owned(thing: Json, owner_uid: str) -> bool:
    return (_controller(thing) or {}).get("uid") == owner_uid


def _controller(thing: Json) -> Json | None:
    owners = thing["metadata"].get("ownerReferences") or ()
    return next((owner for owner in owners if owner.get("controller")), None)


def _deployment_of(content: KubeObject) -> str:
    name: str = content["metadata"]["labels"][labels.DEPLOYMENT]
    return name
