"""Rephrasing is light and reproducible, and never produces a question that the evaluation keeps for itself."""

import random

from tokenizers import Tokenizer

from guide_model.augment import question_for
from guide_model.build import build_tokenizer
from guide_model.conversation import CHAT_TEMPLATE, IGNORED, SampleMaker, turn
from guide_model.facts import load_facts, normalized


def test_the_same_generator_gives_the_same_questions() -> None:
    fact = load_facts()["kv-cache"]
    first, second = ([question_for(fact, random.Random(7)) for _ in range(5)] for _ in range(2))
    assert first == second


def test_rephrasing_finds_many_ways_to_ask() -> None:
    rng, fact = random.Random(1), load_facts()["dynamic-splitfuse"]
    assert len({normalized(question_for(fact, rng)) for _ in range(300)}) > 100


def test_held_out_questions_are_never_drawn() -> None:
    facts = {"metrics": load_facts()["metrics"]}
    rng = random.Random(3)
    likely = {question_for(facts["metrics"], rng) for _ in range(40)}
    tokenizer = build_tokenizer(facts, seed=1)
    maker = SampleMaker(facts, tokenizer, sorted(likely))
    drawn = {normalized(_first_question(maker, tokenizer, rng)) for _ in range(300)}
    assert not drawn & {normalized(question) for question in likely}


def test_only_the_answers_are_predicted() -> None:
    facts = load_facts()
    tokenizer = build_tokenizer(facts, seed=1)
    sample = SampleMaker(facts, tokenizer, []).draw(random.Random(2))
    predicted = tokenizer.decode([label for label in sample.labels if label != IGNORED], skip_special_tokens=True)
    assert any(fact.answer in predicted for fact in facts.values())


def test_samples_are_written_as_the_chat_template_writes_them() -> None:
    import jinja2

    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    rendered = jinja2.Template(CHAT_TEMPLATE).render(messages=messages, add_generation_prompt=True)
    assert rendered == turn("system", "Be brief.") + turn("user", "Hi") + "<|im_start|>assistant\n"


def _first_question(maker: SampleMaker, tokenizer: Tokenizer, rng: random.Random) -> str:
    text = str(tokenizer.decode(list(maker.draw(rng).token_ids), skip_special_tokens=False))
    after = text.split("<|im_start|>user\n")[-1] if "<|im_start|>user\n" in text else text
    return after.split("<|im_end|>")[0].split("\n")[0]
