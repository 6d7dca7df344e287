"""Why a deployment is not as its manifest says, in one reason and a message that says what to do. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from fastgen.contract import ManifestError
from fastgen_operator.changes import Foreign
from fastgen_operator.outcome import Refusal
from fastgen_operator.status import Problem


def of_outcome(foreign: Sequence[Foreign], refused: Sequence[Refusal]) -> Problem | None:
    """The first that stands in the way gives the reason; all are in the message."""
    if not foreign and not refused:
        return None
    messages = [
        f"{each.ref} exists already and is {each.owner}; delete or rename it, or give this deployment another name"
        for each in foreign
    ]
    messages += [f"{each.ref}: {each.error.message}" for each in refused]
    reason = "ObjectNotOurs" if foreign else _reason(refused[0])
    hint = "" if foreign else _HINTS.get(reason, "")
    return Problem(reason, hint + "; ".join(messages))


def of_manifest(error: ManifestError) -> Problem:
    """Every wrong field."""
    wrong = "; ".join(f"{problem.path}: {problem.message}" for problem in error.problems)
    return Problem("ManifestInvalid", f"nothing is changed until the manifest is corrected: {wrong}")


_HINTS = {
    "OperatorForbidden": "the operator may not do this; upgrade its chart, or give it the right: ",
    "ObjectRefused": "the API server refuses ",
    "QuotaExceeded": "a ResourceQuota of this namespace is in the way; raise it, or ask for less: ",
}


def _reason(refusal: Refusal) -> str:
    error = refusal.error
    if "exceeded quota" in error.message:
        return "QuotaExceeded"
    if error.status == 403 and 'User "' in error.message:
        return "OperatorForbidden"
    return "ObjectRefused"
