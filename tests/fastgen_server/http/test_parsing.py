"""Bodies are read strictly: every mistake is named, and nothing is silently ignored."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fastgen.core.sampling_params import SamplingParams
from fastgen.errors import InvalidRequestError
from fastgen_server.generation import Chat, GenerationCall
from fastgen_server.http.bodies import UNSUPPORTED, ChatBody, CompletionBody
from fastgen_server.http.parsing import Wish, parse_chat, parse_completion

HELLO = [{"role": "user", "content": "hello"}]


def completion(**body: Any) -> tuple[GenerationCall, Wish]:
    return parse_completion(json.dumps({"prompt": "hello", **body}).encode(), "id", 0.0)


def chat(**body: Any) -> tuple[GenerationCall, Wish]:
    return parse_chat(json.dumps({"messages": HELLO, **body}).encode(), "id", 0.0)


def test_every_sampling_field_arrives() -> None:
    call, _ = completion(
        model="m",
        max_tokens=9,
        min_tokens=2,
        temperature=0,
        top_p=0.5,
        top_k=7,
        min_p=0.1,
        repetition_penalty=1.5,
        presence_penalty=0.25,
        frequency_penalty=-0.5,
        seed=2**63 - 1,
        n=3,
        stop=["x", "yz"],
        stop_token_ids=[5, 6],
        ignore_eos=True,
        logprobs=4,
        priority=-3,
    )
    assert call.model == "m"
    assert call.priority == -3
    assert call.params == SamplingParams(
        max_new_tokens=9,
        min_new_tokens=2,
        temperature=0.0,
        top_p=0.5,
        top_k=7,
        min_p=0.1,
        repetition_penalty=1.5,
        presence_penalty=0.25,
        frequency_penalty=-0.5,
        seed=2**63 - 1,
        n=3,
        stop=("x", "yz"),
        stop_token_ids=(5, 6),
        ignore_eos=True,
        logprobs=4,
    )


def test_null_is_as_good_as_left_out() -> None:
    fields = set(CompletionBody.__struct_fields__) - {"prompt", "model"}
    assert completion(**dict.fromkeys(fields)) == completion()
    assert chat(**dict.fromkeys(UNSUPPORTED)) == chat()


def test_defaults_are_openais() -> None:
    assert completion()[0].params == SamplingParams(max_new_tokens=16)
    assert chat()[0].params == SamplingParams(max_new_tokens=None)


@pytest.mark.parametrize(
    ("given", "prompts"),
    [
        ("a", ("a",)),
        (["a", "b"], ("a", "b")),
        ([1, 2, 3], ((1, 2, 3),)),
        ([[1, 2], [3]], ((1, 2), (3,))),
    ],
)
def test_a_prompt_is_text_texts_ids_or_lists_of_ids(given: Any, prompts: Any) -> None:
    assert completion(prompt=given)[0].prompts == prompts


def test_a_chat_is_one_prompt_and_developers_speak_as_the_system() -> None:
    parts = [{"type": "text", "text": "hello"}]
    call, _ = chat(messages=[{"role": "developer", "content": "be brief"}, {"role": "user", "content": parts}])
    assert call.prompts == (Chat([{"role": "system", "content": "be brief"}, {"role": "user", "content": parts}]),)


def test_fields_that_clients_send_back_from_answers_are_taken() -> None:
    answered: dict[str, Any] = {
        "role": "assistant",
        "content": "hi",
        "refusal": None,
        "annotations": [],
        "tool_calls": None,
    }
    call, _ = chat(messages=[*HELLO, answered, *HELLO])
    prompt = call.prompts[0]
    assert isinstance(prompt, Chat)
    assert prompt.messages[1] == {"role": "assistant", "content": "hi"}


def test_chat_logprobs_are_a_flag_and_a_number() -> None:
    assert chat(logprobs=True)[0].params.logprobs == 0
    assert chat(logprobs=True, top_logprobs=5)[0].params.logprobs == 5
    assert chat(logprobs=False)[0].params.logprobs is None
    assert chat(max_tokens=5, max_completion_tokens=5)[0].params.max_new_tokens == 5


def test_how_the_response_should_look() -> None:
    wish = completion(stream=True, stream_options={"include_usage": True}, return_token_ids=True, echo=True)[1]
    assert wish == Wish(stream=True, include_usage=True, logprobs=False, echo=True, token_ids=True)


COMPLETION_MISTAKES: list[tuple[dict[str, Any], str, str]] = [
    ({"max_tokens": 0}, "max_tokens", "max_tokens is 0; it must be at least 1"),
    ({"max_tokens": "9"}, "max_tokens", "expected 'int', got 'str'"),
    ({"max_tokens": 10**30}, "max_tokens", "<= 2147483647"),
    ({"min_tokens": 17}, "min_tokens", "min_tokens is 17; it must be at least 0 and at most 16"),
    ({"temperature": -0.1}, "temperature", "at least 0"),
    ({"temperature": True}, "temperature", "got 'bool'"),
    ({"top_p": 0}, "top_p", "above 0 and at most 1"),
    ({"top_k": -2}, "top_k", "at least 0"),
    ({"n": 129}, "n", "at most 128"),
    ({"seed": -1}, "seed", "at least 0"),
    ({"logprobs": 21}, "logprobs", "at most 20"),
    ({"stop": ["a"] * 17}, "stop", "at most 16"),
    ({"stop": ""}, "stop", "empty string"),
    ({"stop": 3}, "stop", "got 'int'"),
    ({"stop_token_ids": [1, "x"]}, "stop_token_ids[1]", "got 'str'"),
    ({"prompt": []}, "prompt", "it is empty"),
    ({"prompt": ["a", 1]}, "prompt", "it mixes them"),
    ({"prompt": [[1], "a"]}, "prompt", "it mixes them"),
    ({"prompt": [[1, "a"]]}, "prompt[0][1]", "got 'str'"),
    ({"prompt": None}, "prompt", "got 'null'"),
    ({"max_token": 3}, "max_token", "did you mean 'max_tokens'?"),
    ({"temprature": 3}, "temprature", "did you mean 'temperature'?"),
    ({"zzz": 3}, "zzz", "known are"),
    ({"suffix": "x"}, "suffix", "'suffix' is not supported"),
    ({"best_of": 2}, "best_of", "'best_of' is not supported"),
    ({"best_of": 3, "n": 2}, "best_of", "'best_of' is not supported"),
    ({"logit_bias": {"5": 1}}, "logit_bias", "'logit_bias' is not supported"),
    ({"echo": True, "logprobs": 1}, "echo", "echo with logprobs"),
    ({"stream_options": {"include_usage": True}}, "stream_options", "stream: true"),
    ({"stream": True, "stream_options": {"usage": 1}}, "stream_options", "unknown field"),
]


@pytest.mark.parametrize(("body", "param", "message"), COMPLETION_MISTAKES)
def test_a_mistake_in_a_completion_is_named(body: dict[str, Any], param: str, message: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        completion(**body)
    assert caught.value.param == param
    assert message in caught.value.message


CHAT_MISTAKES: list[tuple[dict[str, Any], str, str]] = [
    ({"top_logprobs": 2}, "top_logprobs", "needs logprobs: true"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "top_logprobs is 21; it must be at least 0"),
    ({"logprobs": 3}, "logprobs", "expected 'bool'"),
    ({"max_tokens": 3, "max_completion_tokens": 4}, "max_completion_tokens", "give one"),
    ({"tools": [{"type": "function"}]}, "tools", "'tools' is not supported"),
    ({"response_format": {"type": "json_object"}}, "response_format", "not supported"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role", "allowed are system"),
    ({"messages": [*HELLO, {"role": "user"}]}, "messages[1].content", "is required"),
    ({"messages": [{"content": "x"}]}, "messages[0].role", "is required"),
    ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content", "got 'int'"),
    ({"messages": [{"role": "user", "content": "x", "tool_calls": [1]}]}, "messages[0].tool_calls", "not supported"),
    ({"messages": [{"role": "user", "content": "x", "mood": 1}]}, "messages[0]", "unknown field 'mood'"),
    ({"messages": "hello"}, "messages", "expected 'array'"),
    ({"prompt": "hello"}, "prompt", "unknown field 'prompt'"),
]


@pytest.mark.parametrize(("body", "param", "message"), CHAT_MISTAKES)
def test_a_mistake_in_a_chat_is_named(body: dict[str, Any], param: str, message: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        chat(**body)
    assert caught.value.param == param
    assert message in caught.value.message


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [], "tool_choice": "auto", "parallel_tool_calls": True},
        {"response_format": {"type": "text"}, "logit_bias": {}, "store": False},
        {"user": "someone", "metadata": {"a": "b"}, "service_tier": "auto"},
    ],
)
def test_fields_that_ask_for_what_happens_anyway_are_fine(fields: dict[str, Any]) -> None:
    assert chat(**fields) == chat()


def test_best_of_n_is_n() -> None:
    assert completion(best_of=2, n=2) == completion(n=2)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"[]", "expected 'object'"),
        (b"{}", "prompt is required"),
        (b"\xff", "not valid JSON"),
        (b'{"prompt": "a", "temperature": NaN}', "not valid JSON"),
        (b'{"prompt": "a", "temperature": 1e999}', "out of range"),
        (b'{"prompt": ' + b"[" * 200_000, "nested too deeply"),
        (b'{"prompt": "a", "tools": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "nested too deeply"),
    ],
)
def test_what_is_no_body_is_refused(raw: bytes, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        parse_completion(raw, "id", 0.0)


def test_no_field_is_both_served_and_unsupported() -> None:
    served = {*CompletionBody.__struct_fields__} & {*ChatBody.__struct_fields__}
    assert not served & set(UNSUPPORTED)
