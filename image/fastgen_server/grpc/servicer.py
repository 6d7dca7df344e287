"""fastgen.v1.Generation: the same service as HTTP, in protobuf."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial
from typing import Any, NoReturn

import grpc

from fastgen.errors import OverloadedError, RequestError
from fastgen.v1 import generation_pb2 as pb
from fastgen.v1 import generation_pb2_grpc
from fastgen_server.generation import Answer, GenerationService
from fastgen_server.grpc.messages import call_of, choice_of, usage_of, whole_choices

Context = grpc.aio.ServicerContext[Any, Any]
ERROR_CODE, ERROR_PARAM, RETRY_AFTER = "fastgen-error-code", "fastgen-error-param", "retry-after"
"""Trailing metadata that tells an error apart, beside the gRPC status."""


class GenerationServicer(generation_pb2_grpc.GenerationServicer):
    """grpc.aio cancels these coroutines when the client cancels or its deadline passes."""

    def __init__(self, service: GenerationService) -> None:
        self._service = service

    async def Generate(self, request: pb.GenerateRequest, context: Context) -> pb.GenerateResponse:
        try:
            answer = await self._prepare(request, "Generate")
            async with aclosing(answer.deltas()) as stream:
                deltas = [delta async for delta in stream]
        except RequestError as error:
            await _abort(context, error)
        return pb.GenerateResponse(
            id=answer.call.request_id,
            model=self._service.model_name,
            choices=whole_choices(deltas, len(answer.clocks), self._service.backend.tokenizer),
            usage=usage_of(answer.usage()),
        )

    async def GenerateStream(self, request: pb.GenerateRequest, context: Context) -> AsyncIterator[pb.GenerateChunk]:
        tokenizer = self._service.backend.tokenizer
        try:
            answer = await self._prepare(request, "GenerateStream")
            head = partial(pb.GenerateChunk, id=answer.call.request_id, model=self._service.model_name)
            async with aclosing(answer.deltas()) as stream:
                async for delta in stream:
                    yield head(choices=[choice_of(delta, tokenizer)])
        except RequestError as error:
            await _abort(context, error)
        yield head(usage=usage_of(answer.usage()))

    async def _prepare(self, request: pb.GenerateRequest, endpoint: str) -> Answer:
        arrival_seconds, request_id = time.monotonic(), f"gen-{uuid.uuid4().hex}"
        try:
            call = call_of(request, endpoint, request_id, arrival_seconds)
        except RequestError as error:
            self._service.refused(endpoint, error, request_id=request_id)
            raise
        return await self._service.prepare(call)


async def _abort(context: Context, error: RequestError) -> NoReturn:
    """End the call with the error's status; what HTTP says in its body and headers is in the trailers."""
    trailers = [(ERROR_CODE, error.code)]
    if error.param:
        trailers.append((ERROR_PARAM, error.param))
    if error.http_status == 503:
        trailers.append((RETRY_AFTER, str(error.retry_after_seconds if isinstance(error, OverloadedError) else 1)))
    await context.abort(grpc.StatusCode[error.grpc_status], error.message, tuple(trailers))
    raise error  # abort() has raised already; this tells the type checker so
