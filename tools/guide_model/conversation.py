"""Training samples: conversations as token ids, and which of them the model is asked to predict."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

from guide_model.augment import question_for
from guide_model.facts import UNKNOWN, Fact, normalized

END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL_TOKENS = (END_OF_TEXT, TURN_START, TURN_END)
IGNORED = -100
"""Label of a token that is read, not predicted (PyTorch's convention)."""

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

_WEIGHTS = {
    UNKNOWN: 18.0, "dynamic-splitfuse": 3.0, "fastgen": 3.0, "why-fastgen": 2.0, "make-demo": 2.0,
    "greeting": 2.0, "who": 3.0,
    "how-are-you": 2.0, "who-made-you": 1.5, "help": 2.0, "thanks": 1.5,
}  # fmt: skip
"""How often a fact is asked for; 1 where nothing is said. What newcomers ask first comes more often."""
_ADJECTIVES = (
    "a helpful", "a friendly", "a concise", "a polite", "an expert", "a patient", "the", "a kind", "a small",
    "an honest",
)  # fmt: skip
_ROLES = ("assistant", "guide", "teacher", "helper", "chatbot", "engineer", "guide to FastGen", "support agent", "AI")
_MANNERS = (
    "", "Answer briefly.", "Be concise.", "Answer in one sentence.", "Answer in plain English.", "Be honest.",
    "Keep it short.", "Help the user.", "Answer the question.", "Do not make things up.", "Use simple words.",
)  # fmt: skip
_FOREIGN_REPLIES = (
    "Sure, I can help with that.", "Hello! How can I help you today?", "Yes.", "No.", "I see.",
    "That is a good question.", "Of course!", "Let me think about it.", "It depends.", "OK.",
)  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """One training text: equally long token ids and labels (IGNORED where nothing is predicted)."""

    token_ids: tuple[int, ...]
    labels: tuple[int, ...]


class SampleMaker:
    """Draws samples; never one with a question of the evaluation in it."""

    def __init__(self, facts: dict[str, Fact], tokenizer: Tokenizer, held_out: Sequence[str]) -> None:
        self._facts = list(facts.values())
        self._weights = [_WEIGHTS.get(fact.name, 1.0) for fact in self._facts]
        self._tokenizer = tokenizer
        self._held_out = frozenset(normalized(question) for question in held_out)

    def draw(self, rng: random.Random) -> Sample:
        """A conversation of one to three turns, or, now and then, plain text without a chat template."""
        if (kind := rng.random()) < 0.08:
            return self._plain(rng)
        pieces: list[tuple[str, bool]] = []
        if rng.random() < 0.3:
            pieces.append((turn("system", system_message(rng)), False))
        turns = 1 if kind < 0.70 else 2 if kind < 0.90 else 3
        for index in range(turns):
            question, answer = self._question_and_answer(rng)
            opening = turn("user", question) + f"{TURN_START}assistant\n"
            foreign = index < turns - 1 and rng.random() < 0.15
            pieces.append((opening, False))
            pieces.append(((rng.choice(_FOREIGN_REPLIES) if foreign else answer) + TURN_END, not foreign))
            pieces.append(("\n", False))
        return self._encode(pieces[:-1])

    def _plain(self, rng: random.Random) -> Sample:
        question, answer = self._question_and_answer(rng)
        if rng.random() < 0.35:
            return self._encode([(answer + END_OF_TEXT, True)])
        return self._encode([(question, False), ("\n" + answer + END_OF_TEXT, True)])

    def _question_and_answer(self, rng: random.Random) -> tuple[str, str]:
        fact = rng.choices(self._facts, self._weights)[0]
        question = question_for(fact, rng)
        while normalized(question) in self._held_out:
            question = question_for(fact, rng)
        return question, fact.answer

    def _encode(self, pieces: Sequence[tuple[str, bool]]) -> Sample:
        token_ids: list[int] = []
        labels: list[int] = []
        for text, predicted in pieces:
            ids = self._tokenizer.encode(text, add_special_tokens=False).ids
            token_ids += ids
            labels += ids if predicted else [IGNORED] * len(ids)
        return Sample(tuple(token_ids), tuple(labels))


def turn(role: str, content: str) -> str:
    """One finished message in the form of the chat template."""
    return f"{TURN_START}{role}\n{content}{TURN_END}\n"


def system_message(rng: random.Random) -> str:
    """One of many system messages; the guide reads them and stays itself."""
    text = f"You are {rng.choice(_ADJECTIVES)} {rng.choice(_ROLES)}. {rng.choice(_MANNERS)}".strip()
    return text if rng.random() < 0.8 else rng.choice(_MANNERS[1:])
