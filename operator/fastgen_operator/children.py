"""Carrying out a plan: what is applied and deleted, and what stood in the way."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import aiohttp

from fastgen_operator.api.client import Api, Json
from fastgen_operator.api.errors import ApiError, FieldConflict
from fastgen_operator.api.kinds import kind_of
from fastgen_operator.changes import Applied, Apply, Foreign, Plan, Prune, Ref, owner_text, standing_of
from fastgen_operator.desired.common import hash_of
from fastgen_operator.key import Key
from fastgen_operator.outcome import Done, Outcome, Refusal
from fastgen_operator.ownership import edits_of, owned_fields, undo
from fastgen_operator.store import Store


class Children:
    """Writes the children of one deployment, and remembers what it wrote."""

    def __init__(self, api: Api, store: Store, key: Key, owner_uid: str) -> None:
        self._api, self._store, self._key = api, store, key
        self.owner_uid = owner_uid
        self.remembered: dict[Ref, Applied] = {}

    async def carry_out(self, plan: Plan) -> Outcome:
        """Do it, as far as the API server lets us."""
        outcome = Outcome(foreign=list(plan.foreign), leaving=list(plan.leaving))
        try:
            for apply in plan.applies:
                with _noting(apply.ref, outcome):
                    await self._apply(apply, outcome)
            # What is not wanted any more may be all there is, while what should replace it is refused.
            for prune in plan.prunes if not (outcome.refused or outcome.foreign) else ():
                with _noting(prune.ref, outcome):
                    await self._prune(prune, outcome)
        except (ApiError, aiohttp.ClientError, OSError) as error:
            outcome.broken_off = error
        return outcome

    def forget_all_but(self, wanted: Iterable[Ref]) -> None:
        """Keep no memory of what is not wanted any more."""
        kept = set(wanted)
        self.remembered = {ref: applied for ref, applied in self.remembered.items() if ref in kept}

    async def _apply(self, apply: Apply, outcome: Outcome) -> None:
        uid, kind = apply.uid, kind_of(apply.ref.api_version, apply.ref.kind)
        if uid is None and (found := await self._api.find(kind, self._key.namespace, apply.ref.name)) is not None:
            # It is there, but without the label that we list by: somebody took that off, or it never was ours.
            standing = standing_of(found, self.owner_uid, self._key.name)
            if standing == "foreign":
                outcome.foreign.append(Foreign(apply.ref, owner_text(found)))
                return
            if standing == "leaving":
                outcome.leaving.append(apply.ref)
                return
            uid = found["metadata"]["uid"]
        answer, taken_back = await self._send(apply, uid)
        fields = owned_fields(answer)
        self.remembered[apply.ref] = Applied(
            hash_of(apply.content), answer["metadata"]["uid"], fields, edits_of(answer, fields)
        )
        self._store.table(kind).put(answer)
        outcome.done.append(Done(apply, taken_back))

    async def _send(self, apply: Apply, uid: str | None) -> tuple[Json, tuple[FieldConflict, ...]]:
        """Apply to the very object that was looked at: with its uid, another of the same name is never touched."""
        identity = {} if uid is None else {"uid": uid}
        body = {**apply.content, "metadata": {**apply.content["metadata"], **identity}}
        kind = kind_of(apply.ref.api_version, apply.ref.kind)
        if apply.edits:
            # An apply changes our fields alone: what others added beside them has to be taken away first.
            patch = {**undo(apply.edits, apply.content), "metadata": identity}
            await self._api.merge(kind, self._key.namespace, apply.ref.name, patch)
        try:
            return await self._api.apply(kind, self._key.namespace, body), ()
        except ApiError as error:
            conflicts = error.field_conflicts()
            if not conflicts:
                raise
        # These fields are the manifest's. Whoever took them is named in an event and in a condition.
        return await self._api.apply(kind, self._key.namespace, body, force=True), conflicts

    async def _prune(self, prune: Prune, outcome: Outcome) -> None:
        ref = prune.ref
        kind = kind_of(ref.api_version, ref.kind)
        try:
            await self._api.delete(kind, self._key.namespace, ref.name, uid=prune.uid)
        except ApiError as error:
            if not (error.is_gone or error.is_conflict):
                raise
        self.remembered.pop(ref, None)
        # Where something keeps it (a claim in use), its watch brings it back, as one that is leaving.
        self._store.table(kind).drop(
            {"metadata": {"namespace": self._key.namespace, "name": ref.name, "uid": prune.uid}}
        )
        outcome.pruned.append(ref)


@contextlib.contextmanager
def _noting(ref: Ref, outcome: Outcome) -> Iterator[None]:
    """One object that is refused does not keep the others from being tried; an outage does."""
    try:
        yield
    except ApiError as error:
        if error.is_transient or error.is_farewell:
            raise
        outcome.refused.append(Refusal(ref, error))
