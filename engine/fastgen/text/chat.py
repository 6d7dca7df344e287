"""Chat messages to the text the model was trained on, through the template that came with the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastgen.errors import InvalidRequestError


def render_chat(hf_tokenizer: Any, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = True) -> str:
    """The conversation as one text, special tokens spelled out.

    Raises InvalidRequestError: no template, malformed messages, or the template's own refusal
    (such as "roles must alternate"), with its reason.
    """
    if not hf_tokenizer.chat_template:
        raise InvalidRequestError(
            "this model has no chat template, so it cannot take chat messages: send a plain prompt to "
            "/v1/completions instead, or add chat_template.jinja to the model folder",
            param="messages",
        )
    plain = plain_messages(messages)
    try:
        # transformers runs templates in jinja2's ImmutableSandboxedEnvironment.
        return str(hf_tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=add_generation_prompt))
    except Exception as error:  # a template can raise anything: jinja2 errors, TypeError, KeyError, ...
        raise InvalidRequestError(
            f"the model's chat template refuses these messages: {error or type(error).__name__}", param="messages"
        ) from error


def plain_messages(messages: Any) -> list[dict[str, Any]]:
    """The messages with every content a plain string; OpenAI's list of text parts is joined.

    Raises InvalidRequestError naming the field, as in messages[2].content[0].type.
    """
    if isinstance(messages, (str, bytes)) or not isinstance(messages, Sequence):
        raise InvalidRequestError("messages must be a list of {role, content}", param="messages")
    if not messages:
        raise InvalidRequestError("messages is empty; send at least one", param="messages")
    return [_plain_message(message, f"messages[{place}]") for place, message in enumerate(messages)]


def _plain_message(message: Any, where: str) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise InvalidRequestError(f"{where} must be an object with role and content", param=where)
    role = message.get("role")
    if not isinstance(role, str) or not role:
        raise InvalidRequestError(f"{where}.role must be a string such as 'user'", param=f"{where}.role")
    return {**message, "role": role, "content": _plain_content(message.get("content"), f"{where}.content")}


def _plain_content(content: Any, where: str) -> str:
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    if not isinstance(content, Sequence):
        raise InvalidRequestError(f"{where} must be a string or a list of text parts", param=where)
    return "".join(_part_text(part, f"{where}[{place}]") for place, part in enumerate(content))


def _part_text(part: Any, where: str) -> str:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind != "text":
        raise InvalidRequestError(
            f"{where}.type is {kind!r}; this model reads only 'text' parts", param=f"{where}.type"
        )
    text = part.get("text")
    if not isinstance(text, str):
        raise InvalidRequestError(f"{where}.text must be a string", param=f"{where}.text")
    return text
