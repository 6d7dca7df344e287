"""How much work a request is, and how a lease counts it down."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from fastgen_server.balancer.health import Health
from fastgen_server.balancer.replica import Lease, Replica, ReplicaAddress
from fastgen_server.balancer.work import DEFAULT_GENERATION_TOKENS, NO_WORK, Work, grpc_work, http_work


@pytest.mark.parametrize(
    ("body", "generation"),
    [
        ({"prompt": "x", "max_tokens": 70}, 70),
        ({"max_completion_tokens": 9, "n": 3}, 27),
        ({"prompt": "x"}, DEFAULT_GENERATION_TOKENS),
        ({"prompt": 'say {"max_tokens": 9999} and "n": 5'}, DEFAULT_GENERATION_TOKENS),
        ({"max_tokens": None}, DEFAULT_GENERATION_TOKENS),
    ],
)
def test_what_a_body_asks_for(body: dict[str, Any], generation: int) -> None:
    for style in ((", ", ": "), (",", ":")):
        assert http_work("POST", json.dumps(body, separators=style).encode()).generation_tokens == generation


def test_prompts_are_counted_by_their_length() -> None:
    assert http_work("POST", b"x" * 4000).prompt_tokens == 1001
    assert http_work("GET", b"x" * 4000) == NO_WORK
    assert http_work("POST", b"") == NO_WORK


def test_no_bytes_break_the_scan() -> None:
    rng = random.Random(1)
    for size in range(200):
        work = grpc_work("/fastgen.v1.Generation/Generate", rng.randbytes(size))
        assert work.prompt_tokens >= 0
        assert work.generation_tokens >= 0
    grpc_work("/fastgen.v1.Generation/Generate", b"\xff" * 1000)


def test_a_lease_is_counted_down_as_the_answer_flows_and_given_back_once() -> None:
    replica = Replica(ReplicaAddress("h:1"), Health(eject_failures=1, eject_seconds=1, eject_max_seconds=1))
    closed: list[Replica] = []
    lease = Lease(replica, Work(100, 20), closed.append)
    assert replica.load(0.0) == (120, 1)
    lease.flowed(1)
    assert replica.own_tokens == 19
    lease.flowed(500)  # More than was asked for takes nothing from others.
    assert replica.own_tokens == 0
    lease.close()
    lease.close()
    lease.flowed(3)
    assert (replica.load(0.0), closed) == ((0, 0), [replica])


def test_what_others_sent_counts_while_the_report_is_fresh() -> None:
    replica = Replica(ReplicaAddress("h:1"), Health(eject_failures=1, eject_seconds=1, eject_max_seconds=1))
    Lease(replica, Work(100, 0), lambda _: None)
    replica.report(700, now=10.0, fresh_seconds=3.0)
    Lease(replica, Work(50, 0), lambda _: None)
    assert replica.load(12.0).outstanding_tokens == 750
    assert replica.load(13.5).outstanding_tokens == 150
    replica.report(20, now=14.0, fresh_seconds=3.0)  # Less than our own estimate: ours is on its way there.
    assert replica.load(14.0).outstanding_tokens == 150
