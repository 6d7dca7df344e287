"""From a request's body to a `GenerationCall`, and how its response should look."""

from __future__ import annotations

from typing import NamedTuple

from fastgen.errors import InvalidRequestError
from fastgen_server.generation import Chat, GenerationCall, Prompt, template_role
from fastgen_server.http.bodies import (
    OPENAI_COMPLETION_MAX_TOKENS,
    ChatBody,
    CompletionBody,
    Message,
    SamplingBody,
    read_body,
    sampling_params,
)


class Wish(NamedTuple):
    """How the client wants the response."""

    stream: bool
    include_usage: bool
    logprobs: bool
    echo: bool
    token_ids: bool


def parse_completion(raw: bytes, request_id: str, arrival_seconds: float) -> tuple[GenerationCall, Wish]:
    """Raises InvalidRequestError."""
    body = read_body(raw, CompletionBody)
    if body.echo and body.logprobs is not None:
        raise InvalidRequestError("echo with logprobs is not supported: prompts have none here", param="echo")
    max_tokens = OPENAI_COMPLETION_MAX_TOKENS if body.max_tokens is None else body.max_tokens
    call = GenerationCall(
        request_id=request_id,
        endpoint="/v1/completions",
        model=body.model,
        prompts=_prompts(body.prompt),
        params=sampling_params(body, max_tokens=max_tokens, logprobs=body.logprobs),
        priority=body.priority or 0,
        arrival_seconds=arrival_seconds,
    )
    return call, _wish(body, logprobs=body.logprobs is not None, echo=bool(body.echo))


def parse_chat(raw: bytes, request_id: str, arrival_seconds: float) -> tuple[GenerationCall, Wish]:
    """Raises InvalidRequestError."""
    body = read_body(raw, ChatBody)
    if body.top_logprobs is not None and not body.logprobs:
        raise InvalidRequestError("top_logprobs needs logprobs: true", param="top_logprobs")
    limits = {limit for limit in (body.max_tokens, body.max_completion_tokens) if limit is not None}
    if len(limits) > 1:
        raise InvalidRequestError(
            f"max_tokens is {body.max_tokens} and max_completion_tokens {body.max_completion_tokens}; they mean the "
            "same, so give one",
            param="max_completion_tokens",
        )
    call = GenerationCall(
        request_id=request_id,
        endpoint="/v1/chat/completions",
        model=body.model,
        prompts=(Chat([_plain(message, f"messages[{place}]") for place, message in enumerate(body.messages)]),),
        params=sampling_params(
            body,
            max_tokens=next(iter(limits), None),
            logprobs=(body.top_logprobs or 0) if body.logprobs else None,
        ),
        priority=body.priority or 0,
        arrival_seconds=arrival_seconds,
    )
    return call, _wish(body, logprobs=bool(body.logprobs), echo=False)


def _wish(body: SamplingBody, *, logprobs: bool, echo: bool) -> Wish:
    if body.stream_options is not None and not body.stream:
        raise InvalidRequestError("stream_options is for stream: true", param="stream_options")
    include_usage = body.stream_options is not None and bool(body.stream_options.include_usage)
    return Wish(bool(body.stream), include_usage, logprobs, echo, bool(body.return_token_ids))


def _prompts(given: str | list[str | int | list[int]]) -> tuple[Prompt, ...]:
    """A text, several texts, one list of token ids or several."""
    if isinstance(given, str):
        return (given,)
    kinds = {type(part) for part in given}
    if len(kinds) != 1:
        raise InvalidRequestError(
            "prompt must be a string, a list of strings, a list of token ids, or a list of such lists"
            + ("; it is empty" if not kinds else "; it mixes them"),
            param="prompt",
        )
    if kinds == {int}:
        return (tuple(part for part in given if isinstance(part, int)),)
    return tuple(tuple(part) if isinstance(part, list) else str(part) for part in given)


def _plain(message: Message, where: str) -> dict[str, object]:
    role = template_role(message.role, where)
    for name in ("tool_calls", "function_call", "tool_call_id", "audio"):
        if getattr(message, name):
            raise InvalidRequestError(f"{where}.{name} is not supported by this server", param=f"{where}.{name}")
    if message.content is None:
        raise InvalidRequestError(f"{where}.content is required", param=f"{where}.content")
    plain: dict[str, object] = {"role": role, "content": message.content}
    return plain if message.name is None else {**plain, "name": message.name}
