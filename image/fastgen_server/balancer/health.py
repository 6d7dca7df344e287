"""Is a replica well? Pure: facts and the time come in, a state goes out.

    not_ready --probe ok--> ready --failures in a row, or its port closed--> ejected
        ^                     |                                                 |
        +-----probe failed----+        time served, then the next probe ok -----+--> ready

Leaving out grows: eject_seconds, twice that, four times ... up to a maximum, and is forgiven once a
replica has been well for a while. A replica that merely says it is not ready is not ejected: it speaks.
"""

from __future__ import annotations

from enum import StrEnum

FORGIVEN_AFTER_SECONDS = 60.0
TIMEOUTS_UNTIL_NOT_READY = 3


class ReplicaState(StrEnum):
    """Where a replica stands; only `ready` ones are given requests."""

    READY = "ready"
    NOT_READY = "not_ready"
    EJECTED = "ejected"
    DRAINING = "draining"


class Health:
    """The health of one replica, fed by probes and by the requests that were sent to it."""

    def __init__(self, *, eject_failures: int, eject_seconds: float, eject_max_seconds: float) -> None:
        self._eject_failures = eject_failures
        self._eject_seconds = eject_seconds
        self._eject_max_seconds = eject_max_seconds
        self._probed_ready = False
        self._failures_in_a_row = 0
        self._timeouts_in_a_row = 0
        self._ejections_in_a_row = 0
        self._ejected = False
        self._ejected_until = 0.0

    @property
    def state(self) -> ReplicaState:
        if self._ejected:
            return ReplicaState.EJECTED
        return ReplicaState.READY if self._probed_ready else ReplicaState.NOT_READY

    @property
    def ejected_until(self) -> float:
        return self._ejected_until

    def probe_succeeded(self, now: float) -> None:
        """/readyz said 200. Ends an ejection whose time has been served."""
        self._timeouts_in_a_row = 0
        if self._ejected and now < self._ejected_until:
            return
        if not self._ejected and now - self._ejected_until > FORGIVEN_AFTER_SECONDS:
            self._ejections_in_a_row = 0
        if self._ejected:
            self._failures_in_a_row = 0
        self._ejected = False
        self._probed_ready = True

    def probe_failed(self, *, timed_out: bool = False) -> None:
        """/readyz said no, or its port is closed. One that only was too slow is asked again first: a busy
        machine is no reason to take a replica away from it."""
        self._timeouts_in_a_row = self._timeouts_in_a_row + 1 if timed_out else 0
        if not timed_out or self._timeouts_in_a_row >= TIMEOUTS_UNTIL_NOT_READY:
            self._probed_ready = False

    def request_succeeded(self) -> None:
        """The replica began to answer."""
        self._failures_in_a_row = 0

    def request_failed(self, now: float, *, port_closed: bool) -> bool:
        """A request could not be answered. Returns True if the replica is ejected by this."""
        self._failures_in_a_row += 1
        if self._ejected or not (port_closed or self._failures_in_a_row >= self._eject_failures):
            return False
        if now - self._ejected_until > FORGIVEN_AFTER_SECONDS:
            self._ejections_in_a_row = 0
        leave_out = self._eject_seconds * 2.0**self._ejections_in_a_row
        self._ejected = True
        self._ejected_until = now + min(leave_out, self._eject_max_seconds)
        self._ejections_in_a_row = min(self._ejections_in_a_row + 1, 30)
        return True
