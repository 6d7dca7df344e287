"""Judge a guide by its answers: `python -m guide_model.evaluate` prints every question and whether it was answered."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from guide_model.facts import Fact, Question, is_right, load_facts, load_questions

ROOT = Path(__file__).resolve().parents[2]
MODEL_FOLDER = ROOT / "examples" / "models" / "guide"
QUESTIONS_FILE = ROOT / "tests" / "behaviour" / "guide_questions.toml"


@dataclass(frozen=True)
class Verdict:
    """One question, what the model said, and whether every keyword was in it."""

    question: Question
    answer: str
    right: bool


def evaluate(ask: Callable[[str], str], questions: Sequence[Question], facts: dict[str, Fact]) -> list[Verdict]:
    """Ask every question, judge every answer by the keywords of its fact."""
    verdicts = []
    for question in questions:
        answer = ask(question.text)
        verdicts.append(Verdict(question, answer, is_right(answer, facts[question.fact])))
    return verdicts


def report(verdicts: Sequence[Verdict]) -> str:
    """A table for people: the wrong answers in full, then the score."""
    lines = [
        f"{'right' if v.right else 'WRONG'}  {v.question.text}\n       {v.answer}" for v in verdicts if not v.right
    ]
    lines.append(f"{sum(v.right for v in verdicts)} of {len(verdicts)} right")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 when at least `--at-least` of the questions were answered rightly."""
    parser = argparse.ArgumentParser(prog="python -m guide_model.evaluate", description=__doc__)
    parser.add_argument("--model", type=Path, default=MODEL_FOLDER, help="model folder (default: %(default)s)")
    parser.add_argument("--questions", type=Path, default=QUESTIONS_FILE, help="TOML file (default: %(default)s)")
    parser.add_argument("--at-least", type=float, default=0.9, metavar="SHARE", help="share that must be right")
    options = parser.parse_args(arguments)

    from guide_model.answering import answerer

    facts = load_facts()
    verdicts = evaluate(answerer(options.model), load_questions(options.questions, facts), facts)
    print(report(verdicts))
    return 0 if sum(v.right for v in verdicts) >= options.at_least * len(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
