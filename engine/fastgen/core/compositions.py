"""How a step is filled: Dynamic SplitFuse, and the two compositions the paper compares it with.

Each is one rule over a `StepDraft`. (DeepSpeed-FastGen, arXiv 2401.08671, section 3 and figure 1.)
"""

from __future__ import annotations

from typing import Protocol

from fastgen.core.draft import StepDraft
from fastgen.errors import UnknownOptionError


class Composition(Protocol):
    """Fills a draft within its token budget."""

    name: str
    wants_whole_prompts: bool
    """True where the budget should hold the longest prompt: such systems never cut one."""

    def compose(self, draft: StepDraft) -> None: ...


class SplitFuse:
    """Decodes first, then prompts cut to fill the budget exactly: the budget is a target.

    A long prompt takes ceil(length / room) steps however it is cut, so it is cut equally (throughput is
    concave in tokens) and what that leaves of each step goes to the prompts behind it. Where nobody is
    behind it, it takes the rest itself: no step runs below the budget while prompt work waits.
    """

    name = "splitfuse"
    wants_whole_prompts = False

    def compose(self, draft: StepDraft) -> None:
        for sequence in draft.decodes():
            draft.decode(sequence)
        room = draft.budget_left
        started = []
        for sequence in draft.prompts():
            draft.chunk(sequence, equal_share(draft.missing_tokens(sequence), room))
            started.append(sequence)
        for sequence in started:
            draft.chunk(sequence, draft.budget_left)


class PrefillFirst:
    """Steps of prompts only while any prompt waits, decodes only otherwise (vLLM at the paper's time)."""

    name = "prefill-first"
    wants_whole_prompts = True

    def compose(self, draft: StepDraft) -> None:
        _add_whole_prompts(draft)
        if draft.is_empty:
            for sequence in draft.decodes():
                draft.decode(sequence)


class WholePrompt:
    """Decodes and whole prompts in one step (Orca's iteration-level batching)."""

    name = "whole-prompt"
    wants_whole_prompts = True

    def compose(self, draft: StepDraft) -> None:
        for sequence in draft.decodes():
            draft.decode(sequence)
        _add_whole_prompts(draft)


def equal_share(num_tokens: int, room_tokens: int) -> int:
    """The size of the next of the fewest equal chunks that fit `room_tokens` and make up `num_tokens`."""
    if room_tokens <= 0:
        return 0
    num_chunks = -(-num_tokens // room_tokens)
    return -(-num_tokens // num_chunks)


def _add_whole_prompts(draft: StepDraft) -> None:
    for sequence in draft.prompts(whole=True):
        draft.chunk(sequence, draft.budget_left)


COMPOSITIONS: dict[str, type[Composition]] = {c.name: c for c in (SplitFuse, PrefillFirst, WholePrompt)}


def composition(name: str) -> Composition:
    """The composition of that name; UnknownOptionError names the nearest."""
    if name not in COMPOSITIONS:
        raise UnknownOptionError(name, COMPOSITIONS, "composition")
    return COMPOSITIONS[name]()
