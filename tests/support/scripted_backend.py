"""A backend whose pace and failures are written in the prompt, behind the real server: for what a real engine
does too rarely or too fast to be caught, such as failing in the middle of an answer.

    prompt "tokens=5 gap=0.1"                  five tokens, the letters a b c d e, 0.1 s apart
    prompt "tokens=9 fail=engine_dead at=3"    fails with that error after three

Run as a program it is `fastgen serve` with this in place of the engine: `python scripted_backend.py ADDRESS_FILE
[grace_seconds]`.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import httpx
from aiohttp import web

from fastgen.config import EngineInfo
from fastgen.core.events import SequenceTiming, StepStats
from fastgen.core.sampling_params import SamplingParams
from fastgen.errors import REQUEST_ERRORS, OverloadedError
from fastgen.text.stream import TextDelta, TokenLogprob
from fastgen.text.tokenizer import Tokenizer
from fastgen_server.generation import GenerationService
from fastgen_server.grpc.server import GrpcServer
from fastgen_server.http.app import build_app
from fastgen_server.lifecycle import Lifecycle
from fastgen_server.metrics import ServerMetrics
from fastgen_server.serving import bind_http, serve_backend
from fastgen_server.settings import ServerConfig

INFO = EngineInfo(
    model="scripted",
    architecture="Scripted",
    device="cpu",
    dtype="float32",
    attention="none",
    composition="splitfuse",
    queue_policy="priority",
    token_budget=64,
    token_budget_reason="set by hand",
    max_sequences=8,
    max_model_tokens=4096,
    block_tokens=16,
    num_blocks=1024,
    kv_bytes=1,
    weight_bytes=1,
    vocab_size=0x110000,
    capacity_tokens_per_second=123.0,
)


class CharacterTokenizer:
    """One token is one character."""

    def __init__(self) -> None:
        self.threads: list[int] = []
        """Where each text was encoded."""

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        self.threads.append(threading.get_ident())
        return [ord(char) for char in text]

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        return "".join(map(chr, token_ids))

    def apply_chat_template(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        return self.encode("".join(str(message["content"]) for message in messages))

    def token_bytes(self, token_id: int) -> bytes:
        return chr(token_id).encode()


class ScriptedBackend:
    """See the module. `closed` counts the generators that were closed before their end."""

    def __init__(self) -> None:
        self.info = INFO
        self.tokenizer = cast(Tokenizer, CharacterTokenizer())
        self.alive = True
        self.running = 0
        self.cancelled = 0
        self.seen: list[SamplingParams] = []
        self.priorities: list[int] = []

    async def generate(
        self, prompt_token_ids: Sequence[int], params: SamplingParams, *, priority: int = 0, tenant: str = ""
    ) -> AsyncGenerator[TextDelta, None]:
        text = self.tokenizer.decode(prompt_token_ids)
        script = dict(word.split("=") for word in text.split() if "=" in word)
        tokens, gap = int(script.get("tokens", 3)), float(script.get("gap", 0))
        self.seen.append(params)
        self.priorities.append(priority)
        self.running += 1
        finished = False
        try:
            for place in range(tokens):
                if script.get("fail") and place == int(script.get("at", 0)):
                    raise _error(script["fail"])
                await asyncio.sleep(gap)
                for index in range(params.n):
                    yield self._delta(index, place, last=place == tokens - 1, params=params)
            finished = True
        except Exception:
            finished = True
            raise
        finally:
            self.running -= 1
            self.cancelled += not finished

    def _delta(self, index: int, place: int, *, last: bool, params: SamplingParams) -> TextDelta:
        token_id = ord("a") + place % 26
        shown = () if params.logprobs is None else (TokenLogprob(token_id, -0.5, ((token_id, -0.5), (65, -1.5))),)
        timing = SequenceTiming(0.001, 0.002, 0.003, 0, 0) if last else None
        return TextDelta(index, chr(token_id), (token_id,), shown, "length" if last else None, timing)

    def on_stats(self, callback: Callable[[StepStats], Any]) -> None:
        self.callback = callback

    async def close(self) -> None:
        self.alive = False


def _error(code: str) -> Exception:
    if code == "overloaded":
        return OverloadedError("8 requests are waiting already", retry_after_seconds=7)
    return REQUEST_ERRORS[code]("as the script says") if code in REQUEST_ERRORS else ZeroDivisionError(code)


@dataclass
class Running:
    """A server in this process, on real sockets."""

    http: str
    grpc: str
    backend: ScriptedBackend
    service: GenerationService
    lifecycle: Lifecycle


@asynccontextmanager
async def running_server(config: ServerConfig | None = None) -> AsyncIterator[Running]:
    """The scripted server in the running loop, without signals."""
    config = config or ServerConfig(port=0, grpc_port=0)
    backend = ScriptedBackend()
    service = GenerationService(backend, config, ServerMetrics("scripted", INFO, config.sla), "scripted")
    lifecycle = Lifecycle(service)
    grpc_server = GrpcServer(config.host, 0, config.max_body_bytes)
    runner = web.AppRunner(build_app(service, lifecycle), handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    http_socket = bind_http(config.host, 0)
    await web.SockSite(runner, http_socket).start()
    await grpc_server.start(service)
    try:
        port = http_socket.getsockname()[1]
        yield Running(f"http://127.0.0.1:{port}", f"127.0.0.1:{grpc_server.port}", backend, service, lifecycle)
    finally:
        service.abort_all()
        await asyncio.gather(runner.cleanup(), grpc_server.stop())


async def _main(address_file: str, grace_seconds: float) -> None:
    config = ServerConfig(port=0, grpc_port=0, address_file=address_file, grace_seconds=grace_seconds)
    grpc_server = GrpcServer(config.host, 0, config.max_body_bytes)
    await serve_backend(ScriptedBackend(), config, "scripted", bind_http(config.host, 0), grpc_server)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(_main(sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 30.0))


async def metric(http: httpx.AsyncClient, name: str, **labels: str) -> float:
    """The value of one sample at /metrics."""
    wanted = {"model_name": "scripted", **labels}
    for line in (await http.get("/metrics")).text.splitlines():
        if line.startswith(f"{name}{{") and all(f'{key}="{value}"' in line for key, value in wanted.items()):
            return float(line.rsplit(" ", 1)[1])
    raise AssertionError(f"no sample {name} with {wanted}")
