"""A pod's status from what its containers are doing."""

from __future__ import annotations

from typing import Any

import pytest

from fastgen_devcluster.node.fields import Addresses
from fastgen_devcluster.node.status import Seen, container_status, phase, pod_status, view_of
from fastgen_devcluster.node.views import Running, State, Terminated, View, Waiting

OK, BAD = Terminated(0, "Completed"), Terminated(1, "Error")
WAIT, RUN = Waiting("ContainerCreating"), Running("then")


def view(state: State, last: Terminated | None = None, *, name: str = "main", ready: bool = False) -> View:
    return View(name, "image", state, last, is_ready=ready, is_started=isinstance(state, Running))


def pod(policy: str = "Always", *, containers: int = 1, init: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    specs = [{"name": f"c{index}"} for index in range(containers)]
    return {
        "metadata": {"generation": 2},
        "spec": {"restartPolicy": policy, "containers": specs, "initContainers": init or []},
        "status": {},
    }


def seen(*views: View, init: tuple[View, ...] = (), now: str = "now") -> Seen:
    return Seen(init, views, Addresses("127.1.0.9", "127.1.0.1"), "start", now)


@pytest.mark.parametrize(
    ("policy", "views", "expected"),
    [
        ("Always", [view(WAIT)], "Pending"),
        ("Always", [view(RUN)], "Running"),
        ("Always", [view(RUN), view(WAIT)], "Pending"),
        ("Always", [view(OK)], "Running"),
        ("Always", [view(Waiting("CrashLoopBackOff"), BAD)], "Running"),
        ("OnFailure", [view(BAD)], "Running"),
        ("OnFailure", [view(OK), view(RUN)], "Running"),
        ("OnFailure", [view(OK), view(OK)], "Succeeded"),
        ("Never", [view(BAD), view(RUN)], "Running"),
        ("Never", [view(BAD), view(OK)], "Failed"),
        ("Never", [view(OK)], "Succeeded"),
    ],
)
def test_the_phase_follows_containers_and_restart_policy(policy: str, views: list[View], expected: str) -> None:
    assert phase(pod(policy, containers=len(views)), seen(*views)) == expected


@pytest.mark.parametrize(
    ("policy", "init", "main", "expected"),
    [
        ("Always", view(RUN), view(WAIT), "Pending"),
        ("Always", view(BAD), view(WAIT), "Pending"),
        ("Never", view(BAD), view(WAIT), "Failed"),
        ("Never", view(OK), view(WAIT), "Pending"),
        ("Never", view(OK), view(RUN), "Running"),
    ],
)
def test_init_containers_hold_the_phase_back(policy: str, init: View, main: View, expected: str) -> None:
    assert phase(pod(policy, init=[{"name": "i"}]), seen(main, init=(init,))) == expected


SIDECAR = {"name": "s", "restartPolicy": "Always"}


@pytest.mark.parametrize(
    ("sidecar", "main", "expected"),
    [
        (view(WAIT), view(WAIT), "Pending"),
        (view(RUN), view(WAIT), "Pending"),
        (view(RUN), view(RUN), "Running"),
        (view(RUN), view(OK), "Running"),  # until it has ended, too
        (view(OK), view(OK), "Succeeded"),
        (view(Waiting("CrashLoopBackOff"), BAD), view(RUN), "Running"),
    ],
)
def test_a_sidecar_lets_others_begin_once_started_and_is_waited_for(sidecar: View, main: View, expected: str) -> None:
    assert phase(pod("Never", init=[SIDECAR]), seen(main, init=(sidecar,))) == expected


def conditions(status: dict[str, Any]) -> dict[str, tuple[str, str | None, str]]:
    return {c["type"]: (c["status"], c["reason"], c["lastTransitionTime"]) for c in status["conditions"]}


def test_conditions_say_what_is_missing_and_move_only_when_they_turn() -> None:
    one = pod(init=[SIDECAR])
    first = pod_status(one, seen(view(WAIT), init=(view(WAIT, name="s"),), now="t1"))
    assert conditions(first)["Initialized"] == ("False", "ContainersNotInitialized", "t1")
    one["status"] = first
    second = pod_status(one, seen(view(RUN), init=(view(RUN, name="s", ready=True),), now="t2"))
    assert conditions(second)["Initialized"] == ("True", None, "t2")
    assert conditions(second)["Ready"] == ("False", "ContainersNotReady", "t1")
    assert conditions(second)["PodReadyToStartContainers"] == ("True", None, "t1")
    one["status"] = second
    third = pod_status(one, seen(view(RUN, ready=True), init=(view(RUN, name="s", ready=True),), now="t3"))
    assert conditions(third)["Ready"] == ("True", None, "t3")
    assert third["observedGeneration"] == 2


def test_a_readiness_gate_is_somebody_elses_to_open() -> None:
    one = pod()
    one["spec"]["readinessGates"] = [{"conditionType": "theirs"}]
    assert conditions(pod_status(one, seen(view(RUN, ready=True))))["Ready"][:2] == ("False", "ReadinessGatesNotReady")
    one["status"]["conditions"] = [{"type": "theirs", "status": "True", "lastTransitionTime": "t"}]
    assert conditions(pod_status(one, seen(view(RUN, ready=True))))["Ready"][0] == "True"


@pytest.mark.parametrize("state", [RUN, Waiting("A", "b"), Terminated(3, "Error", "t1", "t2", "m", "id")])
def test_a_status_can_be_read_back(state: State) -> None:
    one = View("n", "image", state, BAD, restarts=4, image_id="i", container_id="c")
    assert view_of(container_status(one)) == one
