"""Stop strings in a text that arrives in pieces, cut anywhere."""

from __future__ import annotations

from typing import NamedTuple


class StopStep(NamedTuple):
    """What one piece of text came to."""

    emit: str
    """Text that can no longer become part of a stop string."""
    stopped: bool


class StopMatcher:
    """Finds the stop string that is complete first; of two complete at once the longer. So the answer does
    not depend on how the text was cut into pieces.

    One Knuth-Morris-Pratt automaton per stop string: how much of it the text so far ends with. The most any
    of them has is what must be held back.
    """

    def __init__(self, stop: tuple[str, ...]) -> None:
        self._stop = stop
        self._failures = [_failure_links(text) for text in stop]
        self._matched = [0] * len(stop)
        self._held = ""

    def push(self, text: str) -> StopStep:
        """Text that is safe to give out. On a stop, the stop string and what follows it are dropped."""
        if not self._stop:
            return StopStep(text, False)
        buffer = self._held + text
        for place, char in enumerate(text, start=len(self._held) + 1):
            longest = self._advance(char)
            if longest:
                self._held = ""
                return StopStep(buffer[: place - longest], True)
        certain = len(buffer) - max(self._matched)
        self._held = buffer[certain:]
        return StopStep(buffer[:certain], False)

    def flush(self) -> str:
        """What was held back, at the end of a text that did not stop here."""
        held, self._held = self._held, ""
        self._matched = [0] * len(self._stop)
        return held

    def _advance(self, char: str) -> int:
        """Take one character; the length of the longest stop string that ends with it, or 0."""
        longest = 0
        for index, text in enumerate(self._stop):
            links, matched = self._failures[index], self._matched[index]
            while matched and text[matched] != char:
                matched = links[matched - 1]
            if text[matched] == char:
                matched += 1
            if matched == len(text):
                longest = max(longest, matched)
                matched = 0
            self._matched[index] = matched
        return longest


def _failure_links(text: str) -> list[int]:
    """For each prefix of `text`, the length of its longest proper border."""
    links = [0] * len(text)
    matched = 0
    for place in range(1, len(text)):
        while matched and text[place] != text[matched]:
            matched = links[matched - 1]
        if text[place] == text[matched]:
            matched += 1
        links[place] = matched
    return links
