"""The arithmetic of the latency promise, against pandas and at every edge."""

from __future__ import annotations

import itertools
import random

import pandas
import pytest

from fastgen.core.sla import EFFECTIVE_RATES, GapEma, Receipt, Sla, SlaClock, join, judge
from fastgen.errors import UsageError

SLA = Sla(prompt_tokens_per_second=512.0, generation_tokens_per_second=4.0)

# pandas.Series(gaps).ewm(span=16).mean(), pandas 3.1, printed with repr.
GAPS_SECONDS = (0.20, 0.30, 0.10, 0.60, 0.05, 0.05, 0.25, 1.00)
EMA_TABLE_SECONDS = (
    0.2,
    0.253125,
    0.19557867360208064,
    0.3163788910505837,
    0.24900920842657337,
    0.20467472046633298,
    0.21381156086402095,
    0.36002196525389096,
)


def times(*gaps_seconds: float, first: float = 0.0) -> list[float]:
    return list(itertools.accumulate(gaps_seconds, initial=first))


def test_the_moving_average_follows_the_table() -> None:
    ema = GapEma()
    assert [ema.push(gap) for gap in GAPS_SECONDS] == pytest.approx(EMA_TABLE_SECONDS, rel=1e-12)
    assert ema.worst == pytest.approx(max(EMA_TABLE_SECONDS), rel=1e-12)


@pytest.mark.parametrize("length", [1, 2, 3, 16, 17, 200])
def test_the_moving_average_is_that_of_pandas(length: int) -> None:
    draw = random.Random(length)
    gaps = [draw.lognormvariate(-2.0, 1.0) for _ in range(length)]
    expected = pandas.Series(gaps).ewm(span=16).mean()
    ema = GapEma()
    assert [ema.push(gap) for gap in gaps] == pytest.approx(expected.tolist(), rel=1e-12)
    assert ema.worst == pytest.approx(expected.max(), rel=1e-12)


@pytest.mark.parametrize("rate", EFFECTIVE_RATES)
def test_the_verdict_is_the_published_one(rate: float) -> None:
    """The rule as the paper's own script states it, on 300 random answers on both sides of the line."""
    draw = random.Random(int(rate))
    verdicts = []
    for _ in range(300):
        prompt_tokens = draw.randint(1, 3000)
        first = draw.uniform(0.0, 2.0 * prompt_tokens / 512)
        gaps = [draw.uniform(0.0, 1.4 / rate) for _ in range(draw.randint(0, 20))]
        expected = first <= prompt_tokens / 512
        if gaps:
            expected = expected and bool((pandas.Series(gaps).ewm(span=16).mean() < 1 / rate).all())
        receipt = judge(prompt_tokens, times(*gaps, first=first), 0.0, SLA.at_rate(rate))
        assert receipt.effective == expected
        assert (receipt.reason == "") == expected
        verdicts.append(expected)
    assert 20 < sum(verdicts) < 280, "the draw must land on both sides to prove anything"


def test_one_token_passes_on_its_prompt_alone() -> None:
    assert judge(512, [1.0], 0.0, SLA) == Receipt(True, 1.0, 1.0, None, 0.25, "")
    late = judge(512, [1.001], 0.0, SLA)
    assert not late.effective
    assert "1.001 s" in late.reason
    assert "512 prompt tokens" in late.reason


def test_exactly_on_time_passes_for_the_prompt_and_fails_for_the_gap() -> None:
    """<= for the first token, < for the gaps: as published."""
    assert judge(512, [1.0, 1.125], 0.0, SLA).effective
    on_the_line = judge(512, [1.0, 1.25], 0.0, SLA)
    assert on_the_line.worst_gap_ema_seconds == 0.25
    assert not on_the_line.effective
    assert "below 0.250 s" in on_the_line.reason


def test_the_first_gap_alone_must_pass() -> None:
    """However fast the rest is: ema_1 is g_1."""
    quick_after = judge(512, times(0.3, *[0.001] * 50), 0.0, SLA)
    assert not quick_after.effective
    assert quick_after.worst_gap_ema_seconds == pytest.approx(0.3)
    assert judge(512, times(0.001, 0.3, *[0.001] * 50), 0.0, SLA).effective


def test_an_answer_without_tokens_is_never_effective() -> None:
    receipt = judge(10, [], 5.0, SLA)
    assert not receipt.effective
    assert receipt.first_token_seconds is None
    assert receipt.reason == "no token came"


def test_both_misses_are_named() -> None:
    receipt = judge(1, [9.0, 19.0], 0.0, SLA)
    assert "first token" in receipt.reason
    assert "gaps" in receipt.reason


def test_times_count_from_sending_on_any_clock() -> None:
    assert judge(512, [1000.5, 1000.75], 1000.0, SLA.at_rate(2)).first_token_seconds == 0.5


def test_the_clock_agrees_with_judge_and_reports_gaps() -> None:
    clock = SlaClock(10.0)
    assert [clock.token(at) for at in (10.5, 10.75, 11.75)] == [0.5, 0.25, 1.0]
    assert clock.num_tokens == 3
    assert clock.receipt(700, SLA) == judge(700, [10.5, 10.75, 11.75], 10.0, SLA)


def test_a_stalled_answer_given_up_is_not_effective() -> None:
    clock = SlaClock(0.0)
    clock.waited_until(9.0)
    assert clock.receipt(512, SLA).reason == "no token came"
    clock.token(1.0)
    clock.waited_until(1.1)
    assert clock.receipt(512, SLA).effective
    clock.waited_until(31.1)
    assert not clock.receipt(512, SLA).effective
    assert clock.num_tokens == 1


def test_several_answers_join_to_the_worst() -> None:
    good, slow = judge(512, [0.1, 0.2], 0.0, SLA), judge(512, [0.5, 1.5], 0.0, SLA)
    joined = join([good, slow])
    assert joined == Receipt(False, 0.5, 1.0, 1.0, 0.25, slow.reason)
    assert join([good]) == good
    assert join([good, judge(512, [], 0.0, SLA)]).first_token_seconds is None
    with pytest.raises(ValueError, match="at least one"):
        join([])


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_promise_needs_a_real_rate(rate: float) -> None:
    with pytest.raises(UsageError, match="above 0"):
        Sla(generation_tokens_per_second=rate)
    with pytest.raises(UsageError, match="above 0"):
        Sla(prompt_tokens_per_second=rate)
