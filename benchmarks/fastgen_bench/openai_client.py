"""One request to an OpenAI server, timed piece by piece."""

from __future__ import annotations

import asyncio
import os
import time
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec

from fastgen.errors import FastGenError, UsageError
from fastgen_bench.config import Workload
from fastgen_bench.records import RequestRecord, spread_tokens
from fastgen_bench.wire import Answer, EventSplitter, decode_answer, error_text
from fastgen_bench.workload import RequestPlan

CONNECT_TIMEOUT_SECONDS = 30.0


class ServerUnreachableError(FastGenError):
    """There is no server, or it is no OpenAI server."""


def api_root(url: str) -> str:
    """`http://host:port/v1`, from an address with or without /v1 at its end."""
    parts = urlsplit(url if "//" in url else f"http://{url}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"--url {url!r} is no address; write it as http://host:port or http://host:port/v1")
    path = parts.path.rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path if path.endswith('/v1') else path + '/v1'}"


class OpenAIClient:
    """As many connections as there are requests in flight, kept open between them."""

    def __init__(self, config: Workload, model: str | None = None) -> None:
        self.root = api_root(config.url)
        self.model = model or config.model or ""
        self._config = config

    async def __aenter__(self) -> OpenAIClient:
        key = os.environ.get(self._config.api_key_variable)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300, keepalive_timeout=75),
            timeout=aiohttp.ClientTimeout(total=self._config.timeout_seconds, sock_connect=CONNECT_TIMEOUT_SECONDS),
            headers={"Authorization": f"Bearer {key}"} if key else {},
            json_serialize=lambda value: msgspec.json.encode(value).decode(),
        )
        if not self.model:
            try:
                self.model = await self._first_model()
            except BaseException:
                await self._session.close()
                raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def _first_model(self) -> str:
        try:
            async with self._session.get(f"{self.root}/models") as response:
                body = await response.read()
                if response.status != 200:
                    raise ServerUnreachableError(f"{self.root}/models answered {error_text(response.status, body)}")
                return str(msgspec.json.decode(body)["data"][0]["id"])
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ServerUnreachableError(f"no server answers at {self.root}: {describe(error)}") from error
        except (msgspec.DecodeError, KeyError, IndexError, TypeError) as error:
            raise ServerUnreachableError(
                f"{self.root}/models lists no model; name one with --model, or check --url"
            ) from error

    async def send(self, plan: RequestPlan, *, began: float, due_seconds: float | None = None) -> RequestRecord:
        """Send one request and wait for its end. Never raises for what the server does: that is a record
        with an `error`. `began` is the time.perf_counter() that all times count from."""
        sent = time.perf_counter() - began
        record = RequestRecord(plan.index, sent if due_seconds is None else due_seconds, sent)
        record.prompt_tokens = plan.prompt_tokens
        try:
            async with self._session.post(self._endpoint, json=self._body(plan)) as response:
                if response.status != 200:
                    record.error = error_text(response.status, await response.read())
                elif self._config.stream:
                    await self._read_stream(response, record, began)
                else:
                    _read_whole(await response.read(), record)
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError) as error:
            record.error = describe(error)
        record.ended_seconds = time.perf_counter() - began
        if record.ok and record.chunk_seconds:
            record.ended_seconds = max(record.chunk_seconds[-1], record.ended_seconds)
        return record

    async def _read_stream(self, response: aiohttp.ClientResponse, record: RequestRecord, began: float) -> None:
        splitter = EventSplitter()
        complete = False
        async for data in response.content.iter_any():
            now = time.perf_counter() - began
            for payload in splitter.push(data):
                if payload == b"[DONE]":
                    complete = True
                    continue
                answer = decode_answer(payload)
                if answer.error is not None:
                    record.error = error_text(response.status, payload)
                    return
                _read_piece(answer, record, now)
        if not complete and record.finish_reason is None:
            record.error = "the stream broke off before its end"
        elif record.completion_tokens:
            record.chunk_tokens = spread_tokens(record.completion_tokens, record.chunk_tokens)
        else:
            record.completion_tokens = len(record.chunk_seconds)

    @property
    def _endpoint(self) -> str:
        return f"{self.root}/{'chat/completions' if self._config.api == 'chat' else 'completions'}"

    def _body(self, plan: RequestPlan) -> dict[str, Any]:
        config = self._config
        body: dict[str, Any] = {
            "model": self.model,
            "max_tokens": plan.output_tokens,
            "temperature": config.temperature,
            "stream": config.stream,
        }
        if config.api == "chat":
            body["messages"] = [{"role": "user", "content": plan.prompt}]
        else:
            body["prompt"] = plan.prompt
        if config.stream:
            body["stream_options"] = {"include_usage": True}
        if config.ignore_eos:
            body["ignore_eos"] = True
        return body


def _read_piece(answer: Answer, record: RequestRecord, now: float) -> None:
    usage = answer.usage
    if usage is not None:
        _read_usage(answer, record)
    for choice in answer.choices:
        if choice.finish_reason is not None:
            record.finish_reason = choice.finish_reason
        if choice.carries_tokens:
            record.chunk_seconds.append(now)
            record.chunk_tokens.append(1)


def _read_whole(body: bytes, record: RequestRecord) -> None:
    answer = decode_answer(body)
    if not answer.choices:
        record.error = "the answer holds no choices"
        return
    record.finish_reason = answer.choices[0].finish_reason
    _read_usage(answer, record)


def _read_usage(answer: Answer, record: RequestRecord) -> None:
    if answer.usage is None:
        return
    record.prompt_tokens = answer.usage.prompt_tokens or record.prompt_tokens
    record.completion_tokens = answer.usage.completion_tokens
    if answer.usage.sla is not None:
        record.server_effective = answer.usage.sla.effective


def describe(error: BaseException) -> str:
    if isinstance(error, (asyncio.TimeoutError, TimeoutError)):
        return "timed out"
    return f"{type(error).__name__}: {error}"[:300]
