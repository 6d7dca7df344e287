"""Light rephrasing: the many ways in which people type one question. Pure functions of a random generator."""

import random
import re
from collections.abc import Callable

from guide_model.facts import UNKNOWN, Fact
from guide_model.phrasings import DEFINITIONS, DROPPABLE, FILLERS, PREFIXES, SUFFIXES
from guide_model.rewrites import CONTRACTIONS, REWRITES, SYNONYMS
from guide_model.unknown import unknown_question


def question_for(fact: Fact, rng: random.Random) -> str:
    """One phrasing of a question this fact answers, as somebody might type it."""
    if fact.name == UNKNOWN:
        return disguise(unknown_question(rng), rng)
    if fact.about and (not fact.ask or rng.random() < 0.5):
        return disguise(definition(rng.choice(fact.about), rng), rng)
    return disguise(rng.choice(fact.ask), rng)


def definition(thing: str, rng: random.Random) -> str:
    """A "what is" question about a thing, for example "Tell me about the KV cache." """
    bare = re.sub(r"^(a|an|the|one) ", "", thing)
    return rng.choice(DEFINITIONS).format(x=thing, bare=bare)


def disguise(question: str, rng: random.Random) -> str:
    """The same question in slightly other words, case, punctuation and, rarely, with a slip of the finger."""
    text = question.rstrip("?.!")
    mark = question[len(text) :] or rng.choice(["", "", "?", ".", "!"])
    steps: tuple[tuple[float, Callable[[str, random.Random], str]], ...] = (
        (0.45, _rewrite),
        (0.30, _synonym),
        (0.15, _synonym),
        (0.35, _contract),
        (0.08, _drop_article),
        (0.10, _drop_word),
        (0.10, _filler),
        (0.05, _swap_article),
        (0.15, _hyphens),
        (0.18, lambda t, r: _lower_first(r.choice(PREFIXES), t)),
        (0.16, lambda t, r: t + r.choice(SUFFIXES)),
        (0.07, _slip),
    )
    as_it_is = rng.random() < 0.25
    for chance, change in steps:
        if rng.random() < chance and not as_it_is:
            text = change(text, rng)
    return _case(text, rng) + _punctuation(mark, rng)


def _rewrite(text: str, rng: random.Random) -> str:
    candidates = [(p, o) for p, options in REWRITES for o in [rng.choice(options)] if re.search(p, text, re.IGNORECASE)]
    if not candidates:
        return text
    pattern, option = rng.choice(candidates)
    return re.sub(pattern, option, text, count=1, flags=re.IGNORECASE)


def _synonym(text: str, rng: random.Random) -> str:
    words = text.split(" ")
    places = [i for i, word in enumerate(words) if word.lower() in SYNONYMS]
    if places:
        place = rng.choice(places)
        words[place] = rng.choice(SYNONYMS[words[place].lower()])
    return " ".join(words)


def _contract(text: str, rng: random.Random) -> str:
    for long, short in CONTRACTIONS:
        if re.search(rf"\b{long}\b", text, re.IGNORECASE):
            typed = short.replace("'", "") if rng.random() < 0.3 else short
            return re.sub(rf"\b{long}\b", typed, text, count=1, flags=re.IGNORECASE)
    return text


def _drop_article(text: str, _: random.Random) -> str:
    return re.sub(r"\b(the|a|an) ", "", text, count=1)


def _drop_word(text: str, rng: random.Random) -> str:
    words = text.split(" ")
    places = [i for i, word in enumerate(words) if word in DROPPABLE]
    if len(words) > 3 and places:
        del words[rng.choice(places)]
    return " ".join(words)


def _filler(text: str, rng: random.Random) -> str:
    words = text.split(" ")
    if len(words) > 2:
        words.insert(rng.randint(1, 2), rng.choice(FILLERS))
    return " ".join(words)


def _swap_article(text: str, _: random.Random) -> str:
    return re.sub(r"\b(the|a) ", lambda m: "a " if m.group(1) == "the" else "the ", text, count=1)


def _hyphens(text: str, rng: random.Random) -> str:
    swaps = [("splitfuse", "split fuse"), ("SplitFuse", "split-fuse"), ("KV cache", "KV-cache"), ("FastGen",
    "fast gen"), ("-", " "), ("_", " "), ("load balancer", "loadbalancer")]  # fmt: skip
    old, new = rng.choice(swaps)
    return text.replace(old, new)


def _slip(text: str, rng: random.Random) -> str:
    words = text.split(" ")
    places = [i for i, word in enumerate(words) if len(word) >= 5 and word.isalpha()]
    if not places:
        return text
    place = rng.choice(places)
    word, at = words[place], rng.randint(1, len(words[place]) - 2)
    kinds = (
        word[:at] + word[at + 1 :],
        word[:at] + word[at + 1] + word[at] + word[at + 2 :],
        word[:at] + word[at] + word[at:],
    )
    words[place] = rng.choice(kinds)
    return " ".join(words)


def _lower_first(prefix: str, text: str) -> str:
    first = text.split(" ", 1)[0]
    return prefix + (text if first.isupper() or first in {"I", "FastGen", "SplitFuse"} else text[:1].lower() + text[1:])


def _case(text: str, rng: random.Random) -> str:
    draw = rng.random()
    if draw < 0.38:
        return text.lower()
    if draw < 0.40:
        return text.upper()
    return text[:1].upper() + text[1:] if draw < 0.9 else text


def _punctuation(mark: str, rng: random.Random) -> str:
    draw = rng.random()
    if draw < 0.68:
        return mark
    return "" if draw < 0.93 else rng.choice(["??", "!", ".", " ?", "...", "?!"])
