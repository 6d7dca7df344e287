"""What came of a plan, and what people should hear of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from fastgen.contract import labels
from fastgen_operator.api.errors import ApiError, FieldConflict
from fastgen_operator.changes import Apply, Foreign, Ref
from fastgen_operator.ownership import text_of


class Refusal(NamedTuple):
    """The API server did not take an object."""

    ref: Ref
    error: ApiError


class Done(NamedTuple):
    """An object was applied."""

    apply: Apply
    taken_back: tuple[FieldConflict, ...]
    """Fields that others had made theirs."""


@dataclass
class Outcome:
    """What came of a plan. One object that is refused does not keep the others from being applied."""

    done: list[Done] = field(default_factory=list)
    pruned: list[Ref] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    foreign: list[Foreign] = field(default_factory=list)
    leaving: list[Ref] = field(default_factory=list)
    broken_off: Exception | None = None
    """Why the rest was not tried: it is worth trying all of it again in a moment."""


def remark(done: Done) -> str | None:
    """What people should hear of an apply; None for an ordinary one."""
    ref, why = done.apply.ref, done.apply.why
    taken = [*((each.field, each.manager) for each in done.taken_back)]
    taken += [(text_of(edit.path), edit.manager) for edit in done.apply.edits]
    if taken:
        fields, managers = (sorted(set(parts)) for parts in zip(*taken, strict=True))
        shown = ", ".join(fields[:3]) + (f" and {len(fields) - 3} more" if len(fields) > 3 else "")
        return f"{ref}: took {shown} back from {', '.join(managers)}"
    if why == "drifted":
        return f"{ref}: put back what was changed by hand"
    if why == "missing" and done.apply.was_known:
        return f"{ref}: made again, because it was deleted"
    if why == "adopted":
        return f"{ref}: taken over; it was left by an earlier {labels.KIND} of this name"
    return None
