"""What a newcomer was promised: the demonstration model answers questions about FastGen in recognisable English."""

from collections.abc import Callable

import pytest

from guide_model.answering import answerer
from guide_model.evaluate import MODEL_FOLDER, QUESTIONS_FILE, evaluate, report
from guide_model.facts import load_facts, load_questions

EIGHT_MEGABYTES = 8 * 1000 * 1000


@pytest.fixture(scope="module")
def ask() -> Callable[[str], str]:
    return answerer(MODEL_FOLDER)


def test_nine_of_ten_rephrased_questions_are_answered_rightly(ask: Callable[[str], str]) -> None:
    facts = load_facts()
    questions = load_questions(QUESTIONS_FILE, facts)
    assert len(questions) == 50
    verdicts = evaluate(ask, questions, facts)
    assert sum(v.right for v in verdicts) >= 45, report(verdicts)


def test_it_says_what_dynamic_splitfuse_is(ask: Callable[[str], str]) -> None:
    assert ask("What is Dynamic SplitFuse?") == load_facts()["dynamic-splitfuse"].answer


def test_the_folder_is_small_enough_to_live_in_the_repository() -> None:
    assert sum(path.stat().st_size for path in MODEL_FOLDER.glob("*.safetensors")) <= EIGHT_MEGABYTES
