"""A replica's health, told by facts and times."""

from __future__ import annotations

import pytest

from fastgen_server.balancer.health import Health


@pytest.fixture
def health() -> Health:
    well = Health(eject_failures=3, eject_seconds=1.0, eject_max_seconds=5.0)
    well.probe_succeeded(0.0)
    return well


def test_nothing_is_ready_before_it_said_so() -> None:
    assert Health(eject_failures=3, eject_seconds=1, eject_max_seconds=5).state.value == "not_ready"


def test_failures_in_a_row_leave_it_out_and_one_success_forgives_them(health: Health) -> None:
    assert [health.request_failed(1.0, port_closed=False) for _ in range(2)] == [False, False]
    health.request_succeeded()
    assert [health.request_failed(1.0, port_closed=False) for _ in range(3)] == [False, False, True]
    assert health.state.value == "ejected"


def test_a_closed_port_leaves_it_out_at_once(health: Health) -> None:
    assert health.request_failed(1.0, port_closed=True)


def test_time_must_be_served_and_grows_until_forgiven(health: Health) -> None:
    now, served = 100.0, []
    for _ in range(4):
        health.request_failed(now, port_closed=True)
        served.append(health.ejected_until - now)
        health.probe_succeeded(health.ejected_until - 0.01)
        assert health.state.value == "ejected"
        now = health.ejected_until
        health.probe_succeeded(now)
        assert health.state.value == "ready"
    assert served == [1.0, 2.0, 4.0, 5.0]
    health.request_failed(now + 61, port_closed=True)
    assert health.ejected_until == now + 62


def test_saying_no_is_not_ready_at_once_but_being_slow_needs_three(health: Health) -> None:
    for _ in range(2):
        health.probe_failed(timed_out=True)
    assert health.state.value == "ready"
    health.probe_failed(timed_out=True)
    assert health.state.value == "not_ready"
    health.probe_succeeded(1.0)
    health.probe_failed()
    assert health.state.value == "not_ready"
