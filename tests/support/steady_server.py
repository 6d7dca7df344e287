"""A small OpenAI-like server of known delays, so that what the load generator measures can be checked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass
class SteadyServer:
    """Answers with `max_tokens` tokens: the first after `first_seconds`, the others `gap_seconds` apart."""

    first_seconds: float = 0.05
    gap_seconds: float = 0.02
    tokens_per_piece: int = 1
    tokens_per_word: int = 2
    fail: Callable[[int], bool] = lambda _: False
    break_off: bool = False
    seen: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    url: str = ""
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/v1/models", self.models)
        app.router.add_post("/v1/completions", self.answer)
        app.router.add_post("/v1/chat/completions", self.answer)
        return app

    async def requests_seen(self, count: int) -> None:
        """Wait until so many requests have come."""
        async with self.arrived:
            await self.arrived.wait_for(lambda: len(self.seen) >= count)

    async def models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "steady", "object": "model"}]})

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        number = len(self.seen)
        self.seen.append(body)
        self.headers.append(dict(request.headers))
        async with self.arrived:
            self.arrived.notify_all()
        if self.fail(number):
            return web.json_response({"error": {"message": "queue full", "code": "overloaded"}}, status=503)
        chat = "messages" in body
        text = body["messages"][0]["content"] if chat else body["prompt"]
        usage = {"prompt_tokens": self.tokens_per_word * len(text.split()), "completion_tokens": body["max_tokens"]}
        if body["stream"]:
            return await self.stream(request, body["max_tokens"], usage, chat)
        await asyncio.sleep(self.first_seconds + self.gap_seconds * (body["max_tokens"] - 1))
        return web.json_response({"choices": [{"text": "x", "finish_reason": "length"}], "usage": usage})

    async def stream(self, request: web.Request, tokens: int, usage: dict[str, int], chat: bool) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)

        async def send(choice: dict[str, Any] | None, **more: Any) -> None:
            payload = json.dumps({"choices": [choice] if choice else [], **more})
            await response.write(f"data: {payload}\n\n".encode())

        if chat:
            await send({"delta": {"role": "assistant", "content": ""}})
        loop = asyncio.get_running_loop()
        began = loop.time()
        for index in range(0, tokens, self.tokens_per_piece):
            await asyncio.sleep(began + self.first_seconds + index * self.gap_seconds - loop.time())
            await send({"delta": {"content": "é"}} if chat else {"text": "é"})
            if self.break_off and index > 0:
                request.transport.close()  # type: ignore[union-attr]
                return response
        await send({"delta": {}, "finish_reason": "length"} if chat else {"text": "", "finish_reason": "length"})
        await send(None, usage=usage)
        await response.write(b"data: [DONE]\n\n")
        return response
