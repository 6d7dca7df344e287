"""What a newcomer was promised: the demonstration model answers questions about FastGen in recognisable English."""

from collections.abc import Iterator

import pytest

import fastgen
from guide_model.evaluate import MODEL_FOLDER, QUESTIONS_FILE, Verdict, report
from guide_model.facts import is_right, load_facts, load_questions, load_strangers

EIGHT_MEGABYTES = 8 * 1000 * 1000


@pytest.fixture(scope="module")
def pipe() -> Iterator[fastgen.Pipeline]:
    with fastgen.pipeline(
        str(MODEL_FOLDER), dtype="float32", linear="plain", token_budget=256, kv_bytes=64 * 2**20, load_progress=False
    ) as pipe:
        yield pipe


def answers(pipe: fastgen.Pipeline, *chats: list[dict[str, str]]) -> list[str]:
    return [response.text for response in pipe(chats, max_new_tokens=96, temperature=0.0)]


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def test_nine_of_ten_rephrased_questions_are_answered_rightly(pipe: fastgen.Pipeline) -> None:
    facts = load_facts()
    questions = load_questions(QUESTIONS_FILE, facts)
    assert len(questions) == 50
    said = answers(pipe, *([user(question.text)] for question in questions))
    verdicts = [Verdict(q, text, is_right(text, facts[q.fact])) for q, text in zip(questions, said, strict=True)]
    assert sum(verdict.right for verdict in verdicts) >= 45, report(verdicts)


def test_it_says_what_dynamic_splitfuse_is(pipe: fastgen.Pipeline) -> None:
    expected = load_facts()["dynamic-splitfuse"].answer
    (in_chat,) = answers(pipe, [user("What is Dynamic SplitFuse?")])
    (in_text,) = pipe("What is Dynamic SplitFuse?", max_new_tokens=96, temperature=0.0)
    assert (in_chat, in_text.text.strip()) == (expected, expected)


def test_it_copes_with_a_system_message_and_a_history(pipe: fastgen.Pipeline) -> None:
    facts = load_facts()
    system = {"role": "system", "content": "You are a helpful assistant."}
    history = [user("Hello!"), {"role": "assistant", "content": facts["greeting"].answer}]
    said = answers(pipe, [system, user("What is a block?")], [system, *history, user("What is a replica?")])
    assert said == [facts["block"].answer, facts["replica"].answer]


def test_it_says_so_when_it_does_not_know(pipe: fastgen.Pipeline) -> None:
    unknown, strangers = load_facts()["unknown"], load_strangers(QUESTIONS_FILE)
    said = answers(pipe, *([user(stranger.text)] for stranger in strangers))
    verdicts = [Verdict(q, text, is_right(text, unknown)) for q, text in zip(strangers, said, strict=True)]
    assert sum(verdict.right for verdict in verdicts) >= 0.75 * len(strangers), report(verdicts)


def test_a_prompt_of_two_thousand_tokens_fits(pipe: fastgen.Pipeline) -> None:
    (response,) = pipe([[7] * 2048], max_new_tokens=8, ignore_eos=True)
    assert (response.prompt_tokens, response.generated_tokens) == (2048, 8)


def test_the_folder_is_small_enough_to_live_in_the_repository() -> None:
    assert sum(path.stat().st_size for path in MODEL_FOLDER.glob("*.safetensors")) <= EIGHT_MEGABYTES
