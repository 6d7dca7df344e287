"""The bodies of /v1/completions and /v1/chat/completions, read strictly.

Three kinds of fields: those served (the structs below), those that change nothing here (NO_EFFECT), and those
known but not served (UNSUPPORTED), which are errors unless they ask for what happens anyway. Anything else is
an error that suggests the nearest name. Depth is bounded by the structs, numbers by 32 bits.
"""

from __future__ import annotations

import difflib
import re
from typing import Annotated, Any, NoReturn, TypeVar

import msgspec

from fastgen.core.sampling_params import SamplingParams
from fastgen.errors import InvalidRequestError

Int = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
Seed = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]

OPENAI_COMPLETION_MAX_TOKENS = 16
"""What OpenAI's completions generate where max_tokens is left out; chats fill the context."""


class StreamOptions(msgspec.Struct, forbid_unknown_fields=True):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class SamplingBody(msgspec.Struct, kw_only=True):
    """What both endpoints take. null is as good as left out."""

    model: str = ""
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Int | None = None
    min_tokens: Int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: Int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: Seed | None = None
    n: Int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[Int] | None = None
    ignore_eos: bool | None = None
    priority: Int | None = None
    return_token_ids: bool | None = None


class CompletionBody(SamplingBody, kw_only=True):
    prompt: str | list[str | Int | list[Int]]
    logprobs: Int | None = None
    echo: bool | None = None


class Message(msgspec.Struct, forbid_unknown_fields=True):
    """One message of a conversation, and the fields that clients send back from earlier answers."""

    role: str
    content: str | list[dict[str, Any]] | None = None
    name: str | None = None
    refusal: Any = None
    annotations: Any = None
    audio: Any = None
    function_call: Any = None
    tool_calls: Any = None
    tool_call_id: Any = None


class ChatBody(SamplingBody, kw_only=True):
    messages: list[Message]
    max_completion_tokens: Int | None = None
    logprobs: bool | None = None
    top_logprobs: Int | None = None


NO_EFFECT = frozenset(
    {
        "metadata",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "user",
    }
)

UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    # The values that ask for nothing.
    "add_generation_prompt": (True,),
    "add_special_tokens": (True,),
    "allowed_token_ids": ([],),
    "audio": (),
    "bad_words": ([],),
    "best_of": (1,),
    "cache_salt": (),
    "chat_template": (),
    "chat_template_kwargs": ({},),
    "continue_final_message": (False,),
    "detokenize": (True,),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "guided_json": (),
    "include_stop_str_in_output": (False,),
    "length_penalty": (1.0,),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "moderation": (),
    "parallel_tool_calls": (True, False),
    "prediction": (),
    "prompt_logprobs": (0,),
    "reasoning_effort": ("none",),
    "request_id": (),
    "response_format": ({"type": "text"},),
    "skip_special_tokens": (True,),
    "spaces_between_special_tokens": (True,),
    "store": (False,),
    "structured_outputs": ({},),
    "suffix": ("",),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "truncate_prompt_tokens": (),
    "use_beam_search": (False,),
    "verbosity": ("medium",),
    "web_search_options": (),
}

Body = TypeVar("Body", bound=SamplingBody)


def read_body(raw: bytes, kind: type[Body]) -> Body:
    """The body as `kind`. Raises InvalidRequestError naming the field, what was given and what is allowed."""
    try:
        fields = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        _check_names(fields, kind)
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        _refuse(str(error))
    except msgspec.DecodeError as error:
        raise InvalidRequestError(f"the body is not valid JSON: {error}") from None
    except RecursionError:
        raise InvalidRequestError("the body is nested too deeply") from None


def _check_names(fields: dict[str, msgspec.Raw], kind: type[SamplingBody]) -> None:
    known = kind.__struct_fields__
    for name, raw in fields.items():
        if name in known or name in NO_EFFECT:
            continue
        if name not in UNSUPPORTED:
            near = difflib.get_close_matches(name, (*known, *UNSUPPORTED), n=1, cutoff=0.6)
            hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(sorted(known))}"
            raise InvalidRequestError(f"unknown field '{name[:64]}'; {hint}", param=name[:64])
        value = msgspec.json.decode(raw)
        if value is not None and value not in UNSUPPORTED[name] and not _best_of_n(name, value, fields):
            raise InvalidRequestError(f"'{name}' is not supported by this server; leave it out", param=name)


def _best_of_n(name: str, value: Any, fields: dict[str, msgspec.Raw]) -> bool:
    """best_of equal to n asks for n answers, all of them."""
    return name == "best_of" and "n" in fields and bool(value == msgspec.json.decode(fields["n"]))


def _refuse(message: str) -> NoReturn:
    """msgspec's "Expected `int`, got `str` - at `$.max_tokens`" as an error about max_tokens."""
    text, _, path = message.partition(" - at ")
    param = re.sub(r"^\$\.?", "", path.strip("`")) or None
    missing = re.search(r"missing required field `(\w+)`", text)
    if missing:
        param = f"{param}.{missing[1]}" if param else missing[1]
        raise InvalidRequestError(f"{param} is required", param=param)
    text = text.replace("`", "'").replace(" | null", "")
    raise InvalidRequestError(f"{param or 'the body'}: {text[0].lower()}{text[1:]}", param=param)


def sampling_params(body: SamplingBody, *, max_tokens: int | None, logprobs: int | None) -> SamplingParams:
    """Raises InvalidRequestError in the words of the HTTP fields."""
    given = {
        "min_new_tokens": body.min_tokens,
        "temperature": body.temperature,
        "top_p": body.top_p,
        "top_k": 0 if body.top_k == -1 else body.top_k,  # -1 is how vLLM's clients say "all"
        "min_p": body.min_p,
        "repetition_penalty": body.repetition_penalty,
        "presence_penalty": body.presence_penalty,
        "frequency_penalty": body.frequency_penalty,
        "seed": body.seed,
        "n": body.n,
        "stop": (body.stop,) if isinstance(body.stop, str) else body.stop and tuple(body.stop),
        "stop_token_ids": body.stop_token_ids and tuple(body.stop_token_ids),
        "ignore_eos": body.ignore_eos,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    try:
        return SamplingParams(max_new_tokens=max_tokens, logprobs=logprobs, **chosen)  # type: ignore[arg-type]
    except InvalidRequestError as error:
        raise in_http_words(error, chat=isinstance(body, ChatBody)) from None


_HTTP_NAMES = {"max_new_tokens": "max_tokens", "min_new_tokens": "min_tokens"}
_CHAT_NAMES = {**_HTTP_NAMES, "logprobs": "top_logprobs", "prompt": "messages"}


def in_http_words(error: InvalidRequestError, *, chat: bool) -> InvalidRequestError:
    """The same error about the field as the HTTP interface calls it."""
    name = (_CHAT_NAMES if chat else _HTTP_NAMES).get(error.param or "")
    if name is None:
        return error
    return type(error)(re.sub(rf"^{error.param}\b", name, error.message), param=name)
