"""The facts are read strictly: a doubtful file is refused before hours of training go into it."""

from pathlib import Path

import pytest

from guide_model.facts import Fact, FactsError, Question, is_right, load_facts, normalized
from guide_model.train import refuse_leaks


def test_training_refuses_an_evaluation_question_among_its_facts() -> None:
    facts = {"license": Fact("license", "Apache", ("Apache",), ask=("What is the license of FastGen?",))}
    refuse_leaks(facts, [Question(text="Which license has FastGen?", fact="license")])
    with pytest.raises(FactsError, match="LICENSE"):
        refuse_leaks(facts, [Question(text="what is the LICENSE of FastGen", fact="license")])


def test_an_answer_without_its_own_keywords_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('[unknown]\nkeywords = ["sorry"]\nanswer = "I do not know."\n')
    with pytest.raises(FactsError, match="lacks its own keywords"):
        load_facts(tmp_path)


def test_a_question_with_two_owners_is_refused(tmp_path: Path) -> None:
    fact = '[[fact]]\nname = "{}"\nask = ["What is it?"]\nkeywords = []\nanswer = "This."\n'
    (tmp_path / "a.toml").write_text(
        '[unknown]\nkeywords = []\nanswer = "?"\n' + fact.format("one") + fact.format("two")
    )
    with pytest.raises(FactsError, match="belongs to both 'one' and 'two'"):
        load_facts(tmp_path)


def test_an_answer_counts_only_with_all_its_keywords() -> None:
    fact = load_facts()["models"]
    assert is_right("It runs llama, MISTRAL and opt.", fact)
    assert not is_right("It runs Llama and Mistral.", fact)


def test_questions_that_differ_in_case_and_marks_are_the_same() -> None:
    assert normalized("What's  the KV-cache?") == normalized("what s the kv cache")
