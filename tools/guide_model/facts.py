"""What the guide knows: reads `facts/*.toml`, the text this project owns, into typed facts."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FACTS_FOLDER = Path(__file__).parent / "facts"
UNKNOWN = "unknown"


class FactsError(ValueError):
    """A facts or questions file that cannot be used; the message names the file, the entry and the cure."""


@dataclass(frozen=True)
class Fact:
    """One answer and the many ways to ask for it."""

    name: str
    answer: str
    keywords: tuple[str, ...]
    """An answer is right when it contains all of these, whatever the case."""
    about: tuple[str, ...] = ()
    """Things this answer defines; they fill the "what is ..." phrasings."""
    ask: tuple[str, ...] = ()
    """Questions in words of their own."""


@dataclass(frozen=True)
class Question:
    """A question that was kept out of training, and the fact that answers it."""

    text: str
    fact: str


def load_facts(folder: Path = FACTS_FOLDER) -> dict[str, Fact]:
    """All facts by name, the answer to unknown questions among them. Refuses doubtful files."""
    facts: dict[str, Fact] = {}
    for path in sorted(folder.glob("*.toml")):
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        entries = list(content.get("fact", []))
        if UNKNOWN in content:
            entries.append({"name": UNKNOWN, **content[UNKNOWN]})
        for entry in entries:
            fact = _read_fact(path, entry)
            if fact.name in facts:
                raise FactsError(f"{path}: fact {fact.name!r} is there twice; give one of them another name")
            facts[fact.name] = fact
    if UNKNOWN not in facts:
        raise FactsError(f"{folder}: no [{UNKNOWN}] answer; add one, the guide needs it for everything else")
    _refuse_shared_questions(facts)
    return facts


def load_questions(path: Path, facts: dict[str, Fact]) -> list[Question]:
    """The questions of an evaluation file, each with the name of a known fact."""
    questions = []
    for entry in tomllib.loads(path.read_text(encoding="utf-8"))["question"]:
        question = Question(text=entry["text"], fact=entry["fact"])
        if question.fact not in facts:
            raise FactsError(f"{path}: {question.text!r} wants fact {question.fact!r}, which does not exist")
        questions.append(question)
    return questions


def load_strangers(path: Path) -> list[Question]:
    """The questions of an evaluation file that nobody taught the guide to answer."""
    return [Question(text, UNKNOWN) for text in tomllib.loads(path.read_text(encoding="utf-8"))["stranger"]]


def is_right(answer: str, fact: Fact) -> bool:
    """Whether an answer contains every keyword of the fact."""
    lowered = answer.lower()
    return all(keyword.lower() in lowered for keyword in fact.keywords)


def normalized(question: str) -> str:
    """The question without case, punctuation and spacing: two that differ only in those are the same."""
    return " ".join("".join(c if c.isalnum() else " " for c in question.lower()).split())


def _read_fact(path: Path, entry: dict[str, Any]) -> Fact:
    known = {"name", "answer", "keywords", "about", "ask"}
    if unknown := set(entry) - known:
        raise FactsError(f"{path}: fact {entry.get('name')!r} has {sorted(unknown)}; allowed are {sorted(known)}")
    fact = Fact(
        name=entry["name"],
        answer=entry["answer"],
        keywords=tuple(entry["keywords"]),
        about=tuple(entry.get("about", ())),
        ask=tuple(entry.get("ask", ())),
    )
    if not is_right(fact.answer, fact):
        missing = [k for k in fact.keywords if k.lower() not in fact.answer.lower()]
        raise FactsError(f"{path}: the answer of {fact.name!r} lacks its own keywords {missing}")
    return fact


def _refuse_shared_questions(facts: dict[str, Fact]) -> None:
    owner: dict[str, str] = {}
    for fact in facts.values():
        for question in (*fact.about, *fact.ask):
            key = normalized(question)
            if owner.setdefault(key, fact.name) != fact.name:
                raise FactsError(f"{question!r} belongs to both {owner[key]!r} and {fact.name!r}; keep one")
