"""Stop strings are found wherever the text is cut, and nothing is held back that need not be."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from fastgen.text.stop import StopMatcher


def run(stop: tuple[str, ...], parts: list[str]) -> tuple[str, bool]:
    matcher = StopMatcher(stop)
    out = ""
    for part in parts:
        emit, stopped = matcher.push(part)
        out += emit
        if stopped:
            return out, True
    return out + matcher.flush(), False


def oracle(stop: tuple[str, ...], text: str) -> tuple[str, bool]:
    """The first place where a stop string is complete; the longest that is complete there."""
    for end in range(1, len(text) + 1):
        ending = [s for s in stop if text[:end].endswith(s)]
        if ending:
            return text[: end - max(map(len, ending))], True
    return text, False


@given(
    stop=st.lists(st.text("abc", min_size=1, max_size=5), max_size=4).map(tuple),
    parts=st.lists(st.text("abc", max_size=6), max_size=10),
)
@settings(max_examples=600, deadline=None)
def test_agrees_with_the_obvious_way_whatever_the_cuts(stop: tuple[str, ...], parts: list[str]) -> None:
    assert run(stop, parts) == oracle(stop, "".join(parts))


def test_text_is_given_out_as_soon_as_no_match_can_follow() -> None:
    matcher = StopMatcher(("\n\nUser:",))
    assert matcher.push("Hello\n") == ("Hello", False)
    assert matcher.push("\n") == ("", False)
    assert matcher.push("\nUs") == ("\n", False)
    assert matcher.push("ual") == ("\n\nUsual", False)
    assert matcher.push("\n\nUser: more") == ("", True)


def test_a_partial_match_at_the_end_is_flushed() -> None:
    matcher = StopMatcher(("END",))
    assert matcher.push("the EN") == ("the ", False)
    assert matcher.flush() == "EN"
    assert matcher.flush() == ""


def test_without_stop_strings_everything_passes() -> None:
    assert StopMatcher(()).push("text") == ("text", False)
