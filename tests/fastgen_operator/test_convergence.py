"""Whatever people do to the objects, and whatever the manifest becomes, one more look and nothing is left to do.

A model of an API server that keeps `managedFields` as the real one does (tests/cluster shows that) stands in for it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from live_objects import OBSERVED, live

from fastgen_operator.changes import Applied, Plan, Ref, plan_changes
from fastgen_operator.desired import desired
from fastgen_operator.desired.common import hash_of
from fastgen_operator.ownership import edits_of, owned_fields, undo

UID = "u-1"
MANIFESTS: tuple[dict[str, Any], ...] = (
    {},
    {"replicas": 3},
    {"suspend": True},
    {"balancer": {"service": {"port": 8443}}},
    {"model": {"cache": {"size": "1Gi"}}},
)


class World:
    """Objects with who set which of their fields. Lists are one field each here: the coarsest record there can be."""

    def __init__(self) -> None:
        self.things: dict[Ref, dict[str, Any]] = {}
        self.made = 0

    def apply(self, ref: Ref, content: Mapping[str, Any]) -> Mapping[str, Any]:
        before = self.things.get(ref)
        if before is None:
            self.made += 1
            before = {"kind": ref.kind, "uid": f"uid-{self.made}", "values": {}, "owners": {}}
        values, owners = dict(before["values"]), {path: set(who) for path, who in before["owners"].items()}
        fields = dict(_flat(content))
        for path in [path for path, who in owners.items() if "fastgen-operator" in who and path not in fields]:
            owners[path].discard("fastgen-operator")
            if not owners[path]:
                del owners[path], values[path]
        for path, value in fields.items():
            owners[path] = (
                {"fastgen-operator"} if values.get(path) != value else owners.get(path, set()) | {"fastgen-operator"}
            )
            values[path] = value
        self.things[ref] = {**before, "values": values, "owners": owners}
        return self.live(ref)

    def update(self, ref: Ref, path: tuple[str, ...], value: Any, who: str) -> None:
        """As `kubectl edit` does it; None takes a field away."""
        thing = self.things[ref]
        if thing["values"].get(path) == value:
            return
        if value is None:
            thing["values"].pop(path, None)
            thing["owners"].pop(path, None)
        else:
            thing["values"][path], thing["owners"][path] = value, {who}

    def live(self, ref: Ref) -> dict[str, Any]:
        thing = self.things[ref]
        managers = sorted({who for owners in thing["owners"].values() for who in owners})
        entries = []
        for who in managers:
            fields: dict[str, Any] = {}
            for path in sorted(path for path, owners in thing["owners"].items() if who in owners):
                place = fields
                for step in path:
                    place = place.setdefault(f"f:{step}", {})
            operation = "Apply" if who == "fastgen-operator" else "Update"
            entries.append({"manager": who, "operation": operation, "fieldsV1": fields})
        owner = {"kind": "FastGenDeployment", "name": "llama", "uid": UID, "controller": True}
        metadata = {"name": ref.name, "uid": thing["uid"], "managedFields": entries, "ownerReferences": [owner]}
        return {"apiVersion": ref.api_version, "kind": ref.kind, "metadata": metadata}


def _flat(content: Mapping[str, Any], above: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    """Every field that is no object, with its path; metadata is left out."""
    found: list[tuple[tuple[str, ...], Any]] = []
    for name, value in content.items():
        if not above and name in ("apiVersion", "kind", "metadata"):
            continue
        if isinstance(value, Mapping) and value:
            found += _flat(value, (*above, name))
        else:
            found.append(((*above, name), copy.deepcopy(value)))
    return found


class Operator:
    """What Children does, on the world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.remembered: dict[Ref, Applied] = {}

    def plan(self, manifest: dict[str, Any]) -> Plan:
        found = {ref: self.world.live(ref) for ref in self.world.things}
        return plan_changes(desired(live(**copy.deepcopy(manifest)), OBSERVED), found, self.remembered, UID)

    def look(self, manifest: dict[str, Any]) -> None:
        plan = self.plan(manifest)
        for apply in plan.applies:
            if apply.edits:
                for path, value in _flat(undo(apply.edits, apply.content)):
                    self.world.update(apply.ref, path, value, "fastgen-operator-undoing")
                    self.world.things[apply.ref]["owners"].pop(path, None)
            answer = self.world.apply(apply.ref, apply.content)
            fields = owned_fields(answer)
            self.remembered[apply.ref] = Applied(
                hash_of(apply.content), answer["metadata"]["uid"], fields, edits_of(answer, fields)
            )
        for prune in plan.prunes:
            del self.world.things[prune.ref]


ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("manifest"), st.sampled_from(MANIFESTS), st.just(0)),
        st.tuples(st.just("delete"), st.integers(0, 99), st.just(0)),
        st.tuples(st.just("change"), st.integers(0, 99), st.integers(0, 99)),
        st.tuples(st.just("remove"), st.integers(0, 99), st.integers(0, 99)),
        st.tuples(st.just("add"), st.integers(0, 99), st.sampled_from(["paused", "minReadySeconds"])),
        st.tuples(st.just("restart"), st.just(0), st.just(0)),
        st.tuples(st.just("look"), st.just(0), st.just(0)),
    ),
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(ACTS)
def test_after_one_look_all_is_as_the_manifest_says_and_nothing_is_left_to_do(acts: list[tuple[str, Any, Any]]) -> None:
    world, manifest = World(), MANIFESTS[0]
    operator = Operator(world)
    operator.look(manifest)
    for act, which, what in acts:
        refs = sorted(world.things)
        ref = refs[which % len(refs)] if isinstance(which, int) else refs[0]
        paths = sorted(world.things[ref]["values"])
        if act == "manifest":
            manifest = which
        elif act == "delete":
            del world.things[ref]
        elif act == "change" and paths:
            world.update(ref, paths[what % len(paths)], "changed by hand", "kubectl-edit")
        elif act == "remove" and paths:
            world.update(ref, paths[what % len(paths)], None, "kubectl-edit")
        elif act == "add":
            world.update(ref, ("spec", what), 1, "kubectl-patch")
        elif act == "restart":
            operator = Operator(world)
        elif act == "look":
            operator.look(manifest)
        if not world.things:
            operator.look(manifest)
    operator.look(manifest)

    assert operator.plan(manifest).is_empty
    wanted = {
        Ref(each["apiVersion"], each["kind"], each["metadata"]["name"]): each
        for each in desired(live(**copy.deepcopy(manifest)), OBSERVED)
    }
    assert set(world.things) == set(wanted)
    for ref, content in wanted.items():
        values = world.things[ref]["values"]
        completed = ("PersistentVolumeClaim", "ServiceAccount")
        assert values == dict(_flat(content)) or (
            ref.kind in completed and dict(_flat(content)).items() <= values.items()
        )
