"""The supervisor's decisions, as a table of what it sees and what it should do."""

from __future__ import annotations

import dataclasses

from fastgen_server.local import decisions
from fastgen_server.local.decisions import Finish, GiveUp, Kill, Slot, Start, Terminate, backoff_seconds, decide
from fastgen_server.local.planning import Role


def slots(*found: Slot) -> dict[str, Slot]:
    return {slot.name: slot for slot in found}


def ready(name: str, now: float = 0.0, role: Role = "replica") -> Slot:
    return decisions.became_ready(decisions.started(Slot(name, role), 7), now)


def test_everything_starts_at_once() -> None:
    found = decide(slots(Slot("a", "replica"), Slot("b", "balancer")), 0.0, stopping=False)
    assert found == [Start("a"), Start("b")]


def test_a_process_that_runs_is_left_alone() -> None:
    assert decide(slots(ready("a"), decisions.started(Slot("b", "balancer"), 8)), 5.0, stopping=False) == []


def test_one_that_died_waits_its_back_off() -> None:
    slot = decisions.exited(ready("a"), 3.0, -9, stopping=False)
    assert (slot.phase, slot.pid, slot.start_at, slot.restarts, slot.last_status) == ("waiting", None, 4.0, 1, -9)
    assert decide(slots(slot), 3.9, stopping=False) == []
    assert decide(slots(slot), 4.0, stopping=False) == [Start("a")]


def test_back_off_doubles_to_thirty_seconds_and_starts_over_after_a_healthy_spell() -> None:
    assert [backoff_seconds(n) for n in (1, 2, 3, 4, 5, 6, 7, 99)] == [1, 2, 4, 8, 16, 30, 30, 30]
    slot = Slot("a", "replica")
    now, waits = 0.0, []
    for _ in range(4):
        slot = decisions.exited(decisions.became_ready(decisions.started(slot, 7), now), now + 1, 1, stopping=False)
        waits.append(slot.start_at - now - 1)
        now = slot.start_at
    assert waits == [1, 2, 4, 8]
    healthy = decisions.became_ready(decisions.started(slot, 7), now)
    slot = decisions.exited(healthy, now + decisions.HEALTHY_SECONDS, 1, stopping=False)
    assert slot.start_at - now - decisions.HEALTHY_SECONDS == 1


def test_what_is_refused_at_the_first_start_is_not_tried_again() -> None:
    slot = decisions.exited(decisions.started(Slot("a", "replica"), 7), 0.0, 2, stopping=False)
    assert decide(slots(slot, ready("b", role="balancer")), 9.0, stopping=False) == [
        GiveUp("a", "it was refused what it was started with")
    ]


def test_three_false_starts_are_enough_unless_another_of_its_kind_came_up() -> None:
    slot = Slot("a", "replica")
    for failures in (1, 2, 3):
        slot = decisions.exited(decisions.started(slot, 7), 0.0, 1, stopping=False)
        found = decide(slots(slot), 100.0, stopping=False)
        assert found == ([Start("a")] if failures < 3 else [GiveUp("a", "it failed 3 times without ever being ready")])
    assert decide(slots(slot, ready("b", 100.0)), 100.0, stopping=False) == [Start("a")]
    assert isinstance(decide(slots(slot, ready("b", 100.0, "balancer")), 100.0, stopping=False)[0], GiveUp)


def test_one_that_fell_silent_is_killed_and_one_that_loads_or_is_not_asked_is_not() -> None:
    loading = decisions.started(Slot("b", "replica"), 8)
    heard = decisions.was_heard(ready("a"), 5.0)
    late = 5.0 + decisions.SILENT_SECONDS
    assert decide(slots(heard, loading), late, stopping=False) == []
    assert [type(a) for a in decide(slots(heard, loading), late + 1, stopping=False)] == [Kill]
    assert decide(slots(ready("a"), loading), late + 1, stopping=False) == []


def test_stopping_drains_the_balancer_first_then_the_replicas() -> None:
    a, b = ready("a"), ready("b", role="balancer")
    assert decide(slots(a, b), 1.0, stopping=True) == [Terminate("b")]
    b = decisions.told_to_stop(b, 1.0)
    assert decide(slots(a, b), 2.0, stopping=True) == []
    b = decisions.exited(b, 3.0, 0, stopping=True)
    assert decide(slots(a, b), 3.0, stopping=True) == [Terminate("a")]
    a = decisions.exited(decisions.told_to_stop(a, 3.0), 4.0, 0, stopping=True)
    assert decide(slots(a, b), 4.0, stopping=True) == [Finish()]


def test_stopping_does_not_wait_for_ever_and_a_second_time_not_at_all() -> None:
    stubborn = decisions.told_to_stop(ready("a"), 0.0)
    assert [type(x) for x in decide(slots(stubborn), decisions.DRAIN_SECONDS + 1, stopping=True)] == [Kill]
    assert [type(x) for x in decide(slots(ready("a")), 0.0, stopping=True, at_once=True)] == [Kill]


def test_what_waits_for_its_back_off_is_not_started_while_stopping() -> None:
    waiting = dataclasses.replace(Slot("a", "replica"), start_at=0.0)
    assert decide(slots(waiting), 9.0, stopping=True) == [Finish()]
