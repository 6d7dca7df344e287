"""From times to a choice, with memory in mind: pure arithmetic."""

from __future__ import annotations

from fastgen_kernels.linear.choice import PLAIN, LinearChoice, choose


def test_one_copy_is_the_rule() -> None:
    times = {"plain": {1: 1.0, 16: 4.0}, "onednn_packed": {1: 1.05, 16: 2.0}}
    assert choose(times, second_copy=False) == LinearChoice((), ("onednn_packed",))


def test_a_second_copy_must_pay() -> None:
    little = {"plain": {1: 1.0, 16: 2.2}, "onednn_packed": {1: 1.2, 16: 2.0}}
    much = {"plain": {1: 1.0, 16: 4.0}, "onednn_packed": {1: 3.0, 16: 2.0}}
    assert choose(little, second_copy=True).copies == 1
    assert choose(much, second_copy=True) == LinearChoice((4,), ("plain", "onednn_packed"))
    assert choose(much, second_copy=False).copies == 1


def test_two_ways_on_one_weight_cost_no_copy() -> None:
    times = {"plain": {1: 1.0, 16: 4.0}, "onednn": {1: 2.0, 16: 3.0}}
    choice = choose(times, second_copy=False)
    assert choice == LinearChoice((4,), ("plain", "onednn"))
    assert [choice.name_for(count) for count in (1, 4, 5, 1000)] == ["plain", "plain", "onednn", "onednn"]


def test_a_way_that_keeps_the_weight_and_copies_it_needs_two() -> None:
    times = {"plain": {1: 4.0}, "mkl_packed": {1: 1.0}}
    assert choose(times, second_copy=False) == PLAIN
    assert choose(times, second_copy=True) == LinearChoice((), ("mkl_packed",))


def test_noise_does_not_mix() -> None:
    times = {"plain": {1: 1.0, 4: 1.0, 16: 1.0}, "onednn": {1: 1.01, 4: 0.99, 16: 1.0}}
    assert len(choose(times, second_copy=False).names) == 1
