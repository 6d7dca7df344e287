"""Windows and policies mean what they mean in a HorizontalPodAutoscaler."""

from __future__ import annotations

from typing import Any

import pytest

from fastgen.contract.autoscaling import ScalingRules
from fastgen_operator.autoscaler.behavior import MAX_GAP_SECONDS, limited, remember, stabilized
from fastgen_operator.autoscaler.state import Change, Recommendation


def rules(*policies: tuple[str, int, int], select: str = "Max", window: int | None = None) -> ScalingRules:
    given: dict[str, Any] = {
        "selectPolicy": select,
        "policies": [{"type": kind, "value": value, "periodSeconds": period} for kind, value, period in policies],
    }
    if window is not None:
        given["stabilizationWindowSeconds"] = window
    return ScalingRules.model_validate(given)


@pytest.mark.parametrize(
    ("wanted", "current", "up", "down", "changes", "allowed"),
    [
        (9, 2, rules(), rules(), [], 9),
        (9, 2, rules(("Pods", 3, 60)), rules(), [], 5),
        (9, 4, rules(("Pods", 3, 60)), rules(), [(-30, 2)], 5),
        (9, 4, rules(("Pods", 3, 60)), rules(), [(-90, 2)], 7),
        (9, 4, rules(("Pods", 3, 60)), rules(), [(-30, 3), (-20, 3)], 4),
        (9, 3, rules(("Percent", 50, 60)), rules(), [], 5),
        (9, 3, rules(("Percent", 100, 60), ("Pods", 1, 60)), rules(), [], 6),
        (9, 3, rules(("Percent", 100, 60), ("Pods", 1, 60), select="Min"), rules(), [], 4),
        (9, 3, rules(select="Disabled"), rules(), [], 3),
        (1, 8, rules(), rules(), [], 1),
        (1, 8, rules(), rules(("Pods", 2, 60)), [], 6),
        (1, 6, rules(), rules(("Pods", 2, 60)), [(-30, -2)], 6),
        (1, 8, rules(), rules(("Percent", 50, 60)), [], 4),
        (0, 1, rules(), rules(("Percent", 100, 60)), [], 0),
        (1, 8, rules(), rules(("Pods", 1, 60), ("Percent", 50, 60), select="Min"), [], 7),
        (1, 8, rules(), rules(select="Disabled"), [], 8),
        (8, 8, rules(), rules(), [], 8),
    ],
)
def test_policies(
    wanted: int, current: int, up: ScalingRules, down: ScalingRules, changes: list[tuple[float, int]], allowed: int
) -> None:
    assert limited(wanted, current, [Change(*change) for change in changes], 0.0, up, down) == allowed


def history(*pairs: tuple[float, int]) -> list[Recommendation]:
    return [Recommendation(*pair) for pair in pairs]


@pytest.mark.parametrize(
    ("looks", "current", "up_window", "down_window", "replicas"),
    [
        ([(0, 5)], 2, None, None, 5),
        ([(-60, 2), (-30, 4), (0, 5)], 2, 60, None, 2),
        ([(-61, 2), (-30, 4), (0, 5)], 2, 60, None, 4),
        ([(0, 1)], 4, None, None, 4),
        ([(0, 1)], 4, None, 0, 1),
        ([(-200, 1), (0, 1)], 4, None, None, 4),
        ([(-300, 1), (0, 1)], 4, None, None, 1),
        ([(-300, 1), (-100, 3), (0, 1)], 4, None, None, 3),
        ([(-300, 1), (-100, 9), (0, 1)], 4, None, None, 4),
        ([(-301, 9), (-300, 1), (0, 1)], 4, None, None, 1),
    ],
)
def test_windows(
    looks: list[tuple[float, int]], current: int, up_window: int | None, down_window: int | None, replicas: int
) -> None:
    assert stabilized(history(*looks), current, rules(window=up_window), rules(window=down_window)) == replicas


def test_a_silence_is_not_patience() -> None:
    looks = history((0, 1), (60, 1))
    assert len(remember(looks, 60 + MAX_GAP_SECONDS, 1)) == 3
    assert remember(looks, 61 + MAX_GAP_SECONDS, 1) == (Recommendation(61 + MAX_GAP_SECONDS, 1),)


def test_what_is_older_than_any_window_is_forgotten() -> None:
    looks: tuple[Recommendation, ...] = ()
    for tick in range(200):
        looks = remember(looks, tick * 60.0, 1)
    assert looks[-1].at_seconds - looks[0].at_seconds >= 3600
    assert len(looks) <= 65
