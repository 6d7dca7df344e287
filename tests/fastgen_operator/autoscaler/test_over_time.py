"""Look after look: loads are followed, and a steady one leaves the number alone."""

from __future__ import annotations

import math
import random

from hypothesis import given, settings
from hypothesis import strategies as st
from scaling_looks import EACH, RULES, TICK, signals

from fastgen_operator.autoscaler import Rules, State, decide


class Cluster:
    """Replicas that do what they can, and take a while to start."""

    def __init__(self, rules: Rules, true_capacity: float, replicas: int = 1, start_seconds: float = 60.0) -> None:
        self.rules, self.capacity, self.start_seconds = rules, true_capacity, start_seconds
        self.ready_at = [0.0] * replicas
        self.state, self.now, self.changes = State(), 0.0, 0

    def tick(self, demand: float) -> int:
        ready = sum(at <= self.now for at in self.ready_at)
        kept = min(1.0, ready * self.capacity / demand) if demand else 1.0
        requests = demand / 500 * 120
        seen = signals(
            len(self.ready_at), demand, workload={"ready": ready}, requests=requests,
            effective_requests=requests * (1.0 if kept == 1.0 else kept / 2),
            served_tokens_per_second=min(demand, ready * self.capacity), replicas_seen=ready,
        )  # fmt: skip
        decision = decide(seen, self.state, self.now, self.rules)
        self.changes += decision.replicas != len(self.ready_at)
        missing = decision.replicas - len(self.ready_at)
        self.ready_at = [*self.ready_at, *([self.now + self.start_seconds] * missing)][: decision.replicas]
        self.state, self.now = decision.new_state, self.now + TICK
        return decision.replicas


@settings(max_examples=40, deadline=None)
@given(st.floats(50, 8000), st.floats(0, 0.08), st.randoms(use_true_random=False))
def test_a_constant_load_with_noise_does_not_flap(demand: float, noise: float, chance: random.Random) -> None:
    """At most one step up, where the noise reaches over a threshold that the mean does not; never down again."""
    cluster = Cluster(RULES, true_capacity=EACH)
    for _ in range(60):
        last = cluster.tick(demand * chance.uniform(1 - noise, 1 + noise))
    seen = [last] + [cluster.tick(demand * chance.uniform(1 - noise, 1 + noise)) for _ in range(240)]
    assert seen == sorted(seen)
    assert seen[-1] - seen[0] <= 1


def test_load_that_doubles_in_steps_and_falls_away_is_followed() -> None:
    cluster = Cluster(RULES, true_capacity=EACH)
    replicas = []
    for demand in (400, 800, 1600, 3200, 6400, 3200, 400):
        for _ in range(60):
            last = cluster.tick(demand)
        replicas.append(last)
    # Up: demand / 0.85. Down: demand / 0.70.
    assert replicas == [1, 1, 2, 4, 8, 5, 1]


def test_a_measurement_that_promised_too_much_is_found_out_and_corrected() -> None:
    cluster = Cluster(RULES, true_capacity=0.5 * EACH)
    for _ in range(200):
        last = cluster.tick(1500.0)
    assert last >= math.ceil(1500 / (0.5 * EACH))
    assert 0.3 < cluster.state.capacity_factor < 0.8
