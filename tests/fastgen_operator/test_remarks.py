"""What people hear of what was done, and of what could not be."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from live_objects import OBSERVED, live

from fastgen.contract import ManifestError, parse_manifest
from fastgen_operator import contests, problems
from fastgen_operator.api.errors import ApiError, FieldConflict
from fastgen_operator.changes import Apply, Foreign, Ref, Why
from fastgen_operator.contests import FREE, MOST_SECONDS, QUIET_SECONDS, Contest
from fastgen_operator.desired import desired
from fastgen_operator.invalid_status import status_of_invalid
from fastgen_operator.outcome import Done, Refusal, remark
from fastgen_operator.ownership import Edit
from fastgen_operator.status import Problem
from fastgen_operator.workloads import Rollout

REF = Ref("apps/v1", "Deployment", "llama-replica")
CONTENT = desired(live(), OBSERVED)[0]
NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def done(why: Why, *taken: FieldConflict, edits: tuple[Edit, ...] = (), was_known: bool = True) -> Done:
    return Done(Apply(REF, CONTENT, why, "uid", edits, was_known), taken)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (done("new"), None),
        (done("changed"), None),
        (done("missing", was_known=False), None),
        (done("missing"), "Deployment llama-replica: made again, because it was deleted"),
        (done("drifted"), "Deployment llama-replica: put back what was changed by hand"),
        (
            done("drifted", FieldConflict("kubectl-edit", ".spec.replicas")),
            "Deployment llama-replica: took .spec.replicas back from kubectl-edit",
        ),
        (
            done(
                "changed",
                *(FieldConflict("argocd", f".spec.{name}") for name in "dcba"),
                edits=(Edit(("spec", "paused"), "kubectl-rollout"),),
            ),
            "Deployment llama-replica: took .spec.a, .spec.b, .spec.c and 2 more back from argocd, kubectl-rollout",
        ),
        (
            done("adopted"),
            "Deployment llama-replica: taken over; it was left by an earlier FastGenDeployment of this name",
        ),
    ],
)
def test_an_ordinary_apply_is_no_news_and_another_is(what: Done, said: str | None) -> None:
    assert remark(what) == said


def refusal(status: int, message: str) -> Refusal:
    return Refusal(REF, ApiError(status, "Whatever", message))


@pytest.mark.parametrize(
    ("foreign", "refused", "reason", "words"),
    [
        ([Foreign(REF, "nobody's")], [refusal(422, "no")], "ObjectNotOurs", "is nobody's; delete or rename it"),
        ([], [refusal(403, "exceeded quota: q, requested: count/x=1")], "QuotaExceeded", "ResourceQuota"),
        ([], [refusal(403, 'deployments.apps "x" is forbidden: User "u" cannot patch')], "OperatorForbidden", "chart"),
        ([], [refusal(403, "policy says no")], "ObjectRefused", "policy says no"),
        ([], [refusal(422, "spec is invalid"), refusal(500, "webhook")], "ObjectRefused", "webhook"),
    ],
)
def test_a_problem_has_the_servers_words_and_what_to_do(
    foreign: list[Foreign], refused: list[Refusal], reason: str, words: str
) -> None:
    problem = problems.of_outcome(foreign, refused)
    assert problem is not None
    assert problem.reason == reason
    assert words in problem.message


def test_no_problem_where_nothing_stands_in_the_way() -> None:
    assert problems.of_outcome([], []) is None


def test_the_status_of_what_cannot_be_understood() -> None:
    with pytest.raises(ManifestError) as caught:
        parse_manifest({"apiVersion": "fastgen.dev/v1alpha1", "kind": "FastGenDeployment", "metadata": {"name": "a"}})
    problem = problems.of_manifest(caught.value)
    running = Rollout(True, wanted=2, replicas=2, ready=1)
    status = status_of_invalid("a", 7, problem, running, running, None, NOW)
    told = {condition.type: (condition.status, condition.reason) for condition in status.conditions}
    assert told["Ready"] == told["Progressing"] == ("False", "ManifestInvalid")
    assert {told[kind] for kind in ("ModelReady", "ReplicasReady", "AutoscalingActive")} == {
        ("Unknown", "ManifestInvalid")
    }
    assert "spec: " in status.conditions[0].message
    assert (status.observed_generation, status.replicas, status.ready_replicas) == (7, 2, 1)
    assert status_of_invalid("a", 7, problem, running, running, status, NOW) == status
    assert isinstance(problem, Problem)


def test_a_hand_is_answered_at_once_and_a_machine_ever_more_slowly() -> None:
    contest, now, waits = Contest(), 1000.0, []
    for _ in range(FREE + 12):
        waits.append(contests.wait_seconds(contest, now))
        now += waits[-1]
        contest = contests.put_back(contest, now, "again")
    assert waits[:FREE] == [0.0] * FREE
    assert waits[FREE : FREE + 3] == [1.0, 2.0, 4.0]
    assert waits[-1] == MOST_SECONDS
    assert contests.wait_seconds(contest, now + QUIET_SECONDS) == 0.0
    assert contests.put_back(contest, now + QUIET_SECONDS, "once").times == 1


def test_a_remark_is_told_for_a_while() -> None:
    contest = contests.put_back(Contest(), 1000.0, "took it back")
    assert contest.remark == "took it back"
    assert contests.until_untold_seconds(contest, 1060.0) == contests.TOLD_SECONDS - 60.0
    assert contests.until_untold_seconds(contest, 1000.0 + contests.TOLD_SECONDS) == 0.0
    assert contests.until_untold_seconds(Contest(), 5.0) == 0.0
