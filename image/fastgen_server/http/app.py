"""The routes: OpenAI's, and those for whoever operates the server."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable
from contextlib import aclosing

import msgspec
from aiohttp import web

import fastgen
from fastgen.contract.headers import OUTSTANDING_TOKENS
from fastgen.errors import InvalidRequestError, RequestError, UnknownModelError
from fastgen_server.generation import Answer, GenerationCall, GenerationService
from fastgen_server.http.bodies import in_http_words
from fastgen_server.http.errors import error_json, errors_middleware
from fastgen_server.http.parsing import Wish, parse_chat, parse_completion
from fastgen_server.http.styles import ChatStyle, CompletionStyle, Json, Style
from fastgen_server.lifecycle import Lifecycle

SSE_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}
REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
Parse = Callable[[bytes, str, float], tuple[GenerationCall, Wish]]


def build_app(service: GenerationService, lifecycle: Lifecycle) -> web.Application:
    """The application. Run it with `handler_cancellation=True`: a client that leaves cancels its handler."""
    app = web.Application(client_max_size=service.config.max_body_bytes, middlewares=[errors_middleware])
    openai, operations = OpenAIRoutes(service, lifecycle), OperationsRoutes(service, lifecycle)
    app.router.add_get("/v1/models", openai.models)
    app.router.add_get("/v1/models/{name:.+}", openai.model)
    app.router.add_post("/v1/completions", openai.completions)
    app.router.add_post("/v1/chat/completions", openai.chat)
    app.router.add_get("/healthz", operations.healthz)
    app.router.add_get("/readyz", operations.readyz)
    app.router.add_get("/metrics", operations.metrics)
    app.router.add_get("/version", operations.version)
    return app


class OpenAIRoutes:
    """/v1."""

    def __init__(self, service: GenerationService, lifecycle: Lifecycle) -> None:
        self._service = service
        self._lifecycle = lifecycle
        self._created = int(time.time())

    async def models(self, _: web.Request) -> web.Response:
        return _json({"object": "list", "data": [self._model()]})

    async def model(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name != self._service.model_name:
            raise UnknownModelError(f"the model '{name[:128]}' is not served here; GET /v1/models lists what is")
        return _json(self._model())

    def _model(self) -> Json:
        return {
            "id": self._service.model_name,
            "object": "model",
            "created": self._created,
            "owned_by": "fastgen",
            "max_model_len": self._service.backend.info.max_model_tokens,
        }

    async def completions(self, request: web.Request) -> web.StreamResponse:
        return await self._generate(request, parse_completion, CompletionStyle)

    async def chat(self, request: web.Request) -> web.StreamResponse:
        return await self._generate(request, parse_chat, ChatStyle)

    async def _generate(self, request: web.Request, parse: Parse, style_of: type[Style]) -> web.StreamResponse:
        arrival_seconds = time.monotonic()
        request_id = _request_id(request, style_of.id_prefix)
        try:
            call, wish = parse(await request.read(), request_id, arrival_seconds)
        except RequestError as error:
            self._service.refused(request.path, error, request_id=request_id)
            raise
        try:
            answer = await self._service.prepare(call)
            style = style_of(answer, wish, self._service.model_name, self._service.backend.tokenizer)
            if wish.stream:
                return await self._stream(request, answer, style)
            return await self._whole(answer, style)
        except InvalidRequestError as error:
            raise in_http_words(error, chat=style_of is ChatStyle) from None

    async def _whole(self, answer: Answer, style: Style) -> web.StreamResponse:
        async with aclosing(answer.deltas()) as stream:
            deltas = [delta async for delta in stream]
        response = _json(style.whole(deltas, answer.usage()))
        return self._finish(response, answer)

    async def _stream(self, request: web.Request, answer: Answer, style: Style) -> web.StreamResponse:
        """Server-sent events. Nothing is sent before the first token, so that an error until then has its
        status, and so that a balancer may still send the request elsewhere."""
        async with aclosing(answer.deltas()) as stream:
            first = await anext(stream)
            response = self._finish(web.StreamResponse(headers=SSE_HEADERS), answer)
            await response.prepare(request)
            try:
                await response.write(b"".join(map(_event, (*style.opening(), style.chunk(first)))))
                async for delta in stream:
                    await response.write(_event(style.chunk(delta)))
                last = _event(style.usage(answer.usage())) if style.wish.include_usage else b""
                await response.write(last + b"data: [DONE]\n\n")
            except RequestError as error:
                await response.write(b"event: error\n" + _event(error_json(error)))
                response.force_close()
            await response.write_eof()
        return response

    def _finish(self, response: web.StreamResponse, answer: Answer) -> web.StreamResponse:
        response.headers["X-Request-Id"] = answer.call.request_id
        if self._lifecycle.draining:
            response.force_close()
        return response


class OperationsRoutes:
    """For probes, dashboards and people."""

    def __init__(self, service: GenerationService, lifecycle: Lifecycle) -> None:
        self._service = service
        self._lifecycle = lifecycle

    async def healthz(self, _: web.Request) -> web.Response:
        """Alive: this process answers. A dead engine is being restarted, which a kill would not hasten; only one
        that does not come back for minutes is a reason to start all over."""
        reason = self._lifecycle.lost_because()
        return web.Response(text=f"{reason}\n", status=503) if reason else web.Response(text="ok\n")

    async def readyz(self, _: web.Request) -> web.Response:
        """Whether to send requests here."""
        reason = self._lifecycle.not_ready_because()
        if reason:
            self._service.metrics.waiting_tokens = 0  # An engine that died took its queue with it.
            return web.Response(text=f"{reason}\n", status=503)
        load = {OUTSTANDING_TOKENS: str(self._service.metrics.waiting_tokens)}
        return web.Response(text="ok\n", headers=load)

    async def metrics(self, request: web.Request) -> web.Response:
        metrics, backend = self._service.metrics, self._service.backend
        metrics.engine(backend.info, up=backend.alive, ready=self._lifecycle.not_ready_because() is None)
        body, content_type = metrics.render(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def version(self, _: web.Request) -> web.Response:
        return _json({"version": fastgen.__version__, "model": self._service.model_name})


def _request_id(request: web.Request, prefix: str) -> str:
    """The client's own X-Request-Id, where it is a plain one; the log and the response carry it."""
    given = request.headers.get("X-Request-Id", "")
    return given if REQUEST_ID.fullmatch(given) else f"{prefix}{uuid.uuid4().hex}"


def _json(content: Json) -> web.Response:
    return web.Response(body=msgspec.json.encode(content), content_type="application/json")


def _event(content: Json) -> bytes:
    return b"data: " + msgspec.json.encode(content) + b"\n\n"
