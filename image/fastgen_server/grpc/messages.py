"""Between protobuf and the server's own words."""

from __future__ import annotations

from collections.abc import Sequence

from fastgen.core.sampling_params import SamplingParams
from fastgen.core.sla import Receipt
from fastgen.errors import InvalidRequestError
from fastgen.text.stream import TextDelta, TokenLogprob
from fastgen.text.tokenizer import Tokenizer
from fastgen.v1 import generation_pb2 as pb
from fastgen_server.generation import Chat, GenerationCall, Prompt, Usage, template_role

_REASONS = {
    None: pb.FINISH_REASON_UNSPECIFIED,
    "stop": pb.FINISH_REASON_STOP,
    "length": pb.FINISH_REASON_LENGTH,
    "cancelled": pb.FINISH_REASON_CANCELLED,
}


def call_of(request: pb.GenerateRequest, endpoint: str, request_id: str, arrival_seconds: float) -> GenerationCall:
    """Raises InvalidRequestError."""
    return GenerationCall(
        request_id=request_id,
        endpoint=endpoint,
        model=request.model,
        prompts=(_prompt(request),),
        params=sampling_params(request.sampling),
        priority=request.priority,
        arrival_seconds=arrival_seconds,
    )


def _prompt(request: pb.GenerateRequest) -> Prompt:
    match request.WhichOneof("input"):
        case "text":
            return request.text
        case "chat":
            messages = request.chat.messages
            if not messages:
                raise InvalidRequestError("chat holds no messages; send at least one", param="chat")
            return Chat(
                [
                    {"role": template_role(message.role, f"chat.messages[{place}]"), "content": message.content}
                    for place, message in enumerate(messages)
                ]
            )
        case "token_ids":
            return tuple(request.token_ids.ids)
    raise InvalidRequestError("the input is missing: set text, chat or token_ids", param="input")


def sampling_params(sampling: pb.Sampling) -> SamplingParams:
    """What is set, over the defaults. Raises InvalidRequestError naming the field and its range."""
    # ListFields tells what is set: proto3's `optional` scalars, and lists that are not empty.
    given = {field.name: getattr(sampling, field.name) for field, _ in sampling.ListFields()}
    for name in ("stop", "stop_token_ids"):
        if name in given:
            given[name] = tuple(given[name])
    return SamplingParams(**given)


def choice_of(delta: TextDelta, tokenizer: Tokenizer) -> pb.Choice:
    """What is new of one choice."""
    choice = pb.Choice(
        index=delta.index,
        text=delta.text,
        token_ids=delta.token_ids,
        finish_reason=_REASONS[delta.finish_reason],
        logprobs=[_logprob(item, tokenizer) for item in delta.logprobs],
    )
    if delta.timing is not None:
        choice.timing.CopyFrom(pb.Timing(**delta.timing._asdict()))
    return choice


def whole_choices(deltas: Sequence[TextDelta], num_choices: int, tokenizer: Tokenizer) -> list[pb.Choice]:
    """The deltas of each choice as one."""
    choices = [pb.Choice(index=index) for index in range(num_choices)]
    texts: list[list[str]] = [[] for _ in choices]
    for delta in deltas:
        # Merging protobufs appends lists and keeps what was set; text would be replaced.
        choices[delta.index].MergeFrom(choice_of(delta, tokenizer))
        texts[delta.index].append(delta.text)
    for choice, text in zip(choices, texts, strict=True):
        choice.text = "".join(text)
    return choices


def usage_of(usage: Usage) -> pb.Usage:
    message = pb.Usage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cached_tokens=usage.cached_tokens,
    )
    if usage.sla is not None:
        message.sla.CopyFrom(_receipt(usage.sla))
    return message


def _receipt(receipt: Receipt) -> pb.SlaReceipt:
    return pb.SlaReceipt(**receipt._asdict())


def _logprob(item: TokenLogprob, tokenizer: Tokenizer) -> pb.TokenLogprob:
    return pb.TokenLogprob(
        token_id=item.token_id,
        token=_spell(item.token_id, tokenizer),
        logprob=item.logprob,
        top=[
            pb.TopLogprob(token_id=token_id, token=_spell(token_id, tokenizer), logprob=logprob)
            for token_id, logprob in item.top
        ],
    )


def _spell(token_id: int, tokenizer: Tokenizer) -> str:
    return tokenizer.token_bytes(token_id).decode("utf-8", "replace")
