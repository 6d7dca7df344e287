"""Attach to a running deployment from any script: `fastgen.client(name_or_address)`. gRPC; no torch.

client = fastgen.client("llama")                 # by name: `fastgen up` or `fastgen.serve` on this machine
client = fastgen.client("10.0.0.7:8081")         # by address: any FastGen server or balancer
print(client.generate("What is a block?", max_new_tokens=40)[0])
for piece in client.stream([{"role": "user", "content": "Hello"}]):
    print(piece.text, end="", flush=True)
"""

from __future__ import annotations

import asyncio
import collections
import re
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
import grpc.aio

from fastgen.calls import Prompt, Response, TextDelta, as_prompts, sampling_params
from fastgen.errors import FastGenError, UsageError
from fastgen.local_state import DeploymentRecord, check_name, read_record, records, state_root, terminate
from fastgen.v1 import generation_pb2 as pb
from fastgen.wire import deltas_of, error_of, request_of, responses_of

GENERATE = "/fastgen.v1.Generation/Generate"
GENERATE_STREAM = "/fastgen.v1.Generation/GenerateStream"
MAX_IN_FLIGHT = 64
"""Prompts of one `generate` call that are at the server at once."""

_CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", 64 * 2**20),
    ("grpc.max_send_message_length", 64 * 2**20),
    ("grpc.keepalive_time_ms", 30_000),  # a server that vanished without a word is noticed
)


class Client:
    """A connection to one deployment. Methods may be called from several threads; close it, or use `with`.

    Every method raises `fastgen.errors.RequestError`'s kin for what the server refused or could not do.
    """

    def __init__(self, address: str, folder: Path | None = None) -> None:
        """`address`: HOST:PORT of gRPC. `folder`: where a deployment on this machine keeps its state."""
        self.address = address
        self._folder = folder
        self._channel = grpc.insecure_channel(address, options=_CHANNEL_OPTIONS)
        self._async: tuple[asyncio.AbstractEventLoop, grpc.aio.Channel] | None = None
        self._closed = False

    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        *,
        priority: int = 0,
        timeout_seconds: float | None = None,
        **params: Any,
    ) -> list[Response]:
        """Answer every prompt; responses come in the order of the prompts (and of `n`).

        `params` are those of `SamplingParams`: max_new_tokens, temperature, top_p, stop, seed, ...
        """
        call = self._open().unary_unary(
            GENERATE,
            request_serializer=pb.GenerateRequest.SerializeToString,
            response_deserializer=pb.GenerateResponse.FromString,
        )
        requests = self._requests(prompts, params, priority)
        waiting: collections.deque[grpc.CallFuture[pb.GenerateResponse]] = collections.deque()
        responses: list[Response] = []
        try:
            for request in requests:
                if len(waiting) >= MAX_IN_FLIGHT:
                    responses += responses_of(waiting.popleft().result())
                waiting.append(call.future(request, timeout=timeout_seconds))
            while waiting:
                responses += responses_of(waiting.popleft().result())
        except grpc.RpcError as error:
            raise error_of(error, self.address) from None
        finally:
            for future in waiting:
                future.cancel()  # type: ignore[no-untyped-call]
        return responses

    def stream(
        self, prompt: Prompt, *, priority: int = 0, timeout_seconds: float | None = None, **params: Any
    ) -> Iterator[TextDelta]:
        """The answer to one prompt piece by piece; closing the iterator cancels what is left."""
        call = self._open().unary_stream(
            GENERATE_STREAM,
            request_serializer=pb.GenerateRequest.SerializeToString,
            response_deserializer=pb.GenerateChunk.FromString,
        )
        request = request_of(prompt, sampling_params(params), priority=priority)
        return self._pieces(call(request, timeout=timeout_seconds))

    def _pieces(self, chunks: Any) -> Iterator[TextDelta]:
        try:
            for chunk in chunks:
                yield from deltas_of(chunk)
        except grpc.RpcError as error:
            raise error_of(error, self.address) from None
        finally:
            chunks.cancel()

    async def generate_async(
        self,
        prompts: Prompt | Sequence[Prompt],
        *,
        priority: int = 0,
        timeout_seconds: float | None = None,
        **params: Any,
    ) -> list[Response]:
        """As `generate`, for asyncio. Cancelling the task cancels the requests."""
        call = self._open_async().unary_unary(
            GENERATE,
            request_serializer=pb.GenerateRequest.SerializeToString,
            response_deserializer=pb.GenerateResponse.FromString,
        )
        slots = asyncio.Semaphore(MAX_IN_FLIGHT)

        async def ask(request: pb.GenerateRequest) -> list[Response]:
            async with slots:
                return responses_of(await call(request, timeout=timeout_seconds))

        tasks = [asyncio.ensure_future(ask(request)) for request in self._requests(prompts, params, priority)]
        try:
            return [response for found in await asyncio.gather(*tasks) for response in found]
        except grpc.RpcError as error:
            raise error_of(error, self.address) from None
        finally:
            for task in tasks:
                task.cancel()

    async def stream_async(
        self, prompt: Prompt, *, priority: int = 0, timeout_seconds: float | None = None, **params: Any
    ) -> AsyncIterator[TextDelta]:
        """As `stream`, for asyncio."""
        open_stream = self._open_async().unary_stream(
            GENERATE_STREAM,
            request_serializer=pb.GenerateRequest.SerializeToString,
            response_deserializer=pb.GenerateChunk.FromString,
        )
        request = request_of(prompt, sampling_params(params), priority=priority)
        call = open_stream(request, timeout=timeout_seconds)
        try:
            async for chunk in call:
                for delta in deltas_of(chunk):
                    yield delta
        except grpc.RpcError as error:
            raise error_of(error, self.address) from None
        finally:
            call.cancel()

    @property
    def record(self) -> DeploymentRecord | None:
        """What the deployment's supervisor last wrote down; None for one that was attached by address."""
        return None if self._folder is None else read_record(self._folder)

    def terminate(self, *, timeout_seconds: float = 60.0) -> None:
        """Close this client and end the deployment, after its running requests have finished.

        Only for deployments of this machine attached by name: the supervisor is signalled as a process, and only
        if it still is the one that was written down. There is no such call over the network. Idempotent.
        """
        if self._folder is None:
            raise UsageError(
                f"{self.address} was attached by address, and only a deployment of this machine can be ended from "
                "here; attach by its name (`fastgen ps` lists them), or end it where it runs"
            )
        self.close()
        terminate(self._folder, timeout_seconds=timeout_seconds)

    def close(self) -> None:
        """Close the connection; the deployment runs on. Idempotent."""
        self._closed = True
        self._channel.close()
        if self._async is not None:
            loop, channel = self._async
            self._async = None
            if loop.is_running():
                asyncio.run_coroutine_threadsafe(channel.close(None), loop)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<fastgen.Client of {self._folder.name + ' at ' if self._folder else ''}{self.address}>"

    def _requests(
        self, prompts: Prompt | Sequence[Prompt], params: dict[str, Any], priority: int
    ) -> list[pb.GenerateRequest]:
        chosen = sampling_params(params)
        return [request_of(prompt, chosen, priority=priority) for prompt in as_prompts(prompts)]

    def _open(self) -> grpc.Channel:
        if self._closed:
            raise UsageError("this client is closed; make a new one with fastgen.client(...)")
        return self._channel

    def _open_async(self) -> grpc.aio.Channel:
        """A channel of this event loop: asyncio's belong to the loop they were made in."""
        self._open()
        loop = asyncio.get_running_loop()
        if self._async is None or self._async[0] is not loop:
            self._async = (loop, grpc.aio.insecure_channel(self.address, options=_CHANNEL_OPTIONS))
        return self._async[1]


def client(name_or_address: str, *, state_dir: str | Path | None = None, wait_seconds: float = 60.0) -> Client:
    """Attach to a deployment that runs already.

    `name_or_address`: the name of one on this machine (`fastgen ps`), or HOST:PORT of any FastGen gRPC server.
    `state_dir`: where local state is kept, if not in $FASTGEN_STATE or ~/.local/state/fastgen.
    `wait_seconds`: how long to wait for a deployment that is still coming up to have an address.

    Raises UsageError for a name that does not run here.
    """
    address = name_or_address.removeprefix("grpc://")
    if re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^\s/:]+):\d{1,5}", address):
        return Client(address)
    if not re.fullmatch(r"[-\w]+", name_or_address):
        raise UsageError(f"'{name_or_address}' is neither a deployment's name nor HOST:PORT")
    folder = state_root(state_dir) / check_name(name_or_address)
    deadline = time.monotonic() + wait_seconds
    while True:
        record = read_record(folder)
        if record is None or record.state == "stale":
            raise UsageError(_not_running(name_or_address, folder.parent))
        if record.grpc:
            return Client(record.grpc, folder)
        if time.monotonic() > deadline:
            raise FastGenError(f"'{name_or_address}' has no address after {wait_seconds:g} s; look into {folder}")
        time.sleep(0.05)


def _not_running(name: str, root: Path) -> str:
    running = [record.name for _, record in records(root) if record.state != "stale"]
    known = f"running here: {', '.join(running)}" if running else f"nothing runs here (state in {root})"
    return f"no deployment '{name}' runs on this machine; {known}. fastgen.serve(...) or `fastgen up` starts one"
