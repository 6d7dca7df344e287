"""A port that was claimed stays claimed."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from fastgen.errors import FastGenError
from fastgen_devcluster import ports
from fastgen_devcluster.ports import claim_port

CLAIM_AND_STAY = "from fastgen_devcluster.ports import claim_port; p = claim_port(); print(p.port, flush=True); input()"


@pytest.fixture
def two_ports(monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """A machine on which there are two ports only, both free."""
    first = claim_port().port
    monkeypatch.setattr(ports, "FIRST_PORT", first)
    monkeypatch.setattr(ports, "LAST_PORT", first + 1)
    return first, first + 1


def test_no_port_is_given_twice_until_it_is_released(two_ports: tuple[int, int]) -> None:
    first, second = claim_port(), claim_port()
    assert {first.port, second.port} == set(two_ports)
    with pytest.raises(FastGenError, match="no free port"):
        claim_port()
    first.release()
    assert claim_port().port == first.port
    second.release()


def test_a_port_on_which_somebody_listens_is_passed_over(two_ports: tuple[int, int]) -> None:
    with socket.create_server(("127.0.0.1", two_ports[0])):
        claim = claim_port()
    assert claim.port == two_ports[1]
    claim.release()


def test_the_claim_of_another_process_counts_until_it_is_killed(
    two_ports: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = subprocess.Popen([sys.executable, "-c", CLAIM_AND_STAY], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert there.stdin is not None
    assert there.stdout is not None
    taken = int(there.stdout.readline())
    monkeypatch.setattr(ports, "FIRST_PORT", taken)
    monkeypatch.setattr(ports, "LAST_PORT", taken)
    try:
        with pytest.raises(FastGenError, match="no free port"):
            claim_port()
    finally:
        there.kill()
        there.communicate()
    claim = claim_port()
    assert claim.port == taken
    claim.release()
