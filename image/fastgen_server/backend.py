"""What the server needs of an engine. `fastgen.process.async_engine.AsyncEngine` is the real one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, Protocol

from fastgen.config import EngineInfo
from fastgen.core.events import StepStats
from fastgen.core.sampling_params import SamplingParams
from fastgen.text.stream import TextDelta
from fastgen.text.tokenizer import Tokenizer


class GenerationBackend(Protocol):
    """Generates for one prompt at a time; closing the generator cancels its sequences within a step."""

    @property
    def info(self) -> EngineInfo: ...

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def alive(self) -> bool: ...

    def generate(
        self, prompt_token_ids: Sequence[int], params: SamplingParams, *, priority: int = 0, tenant: str = ""
    ) -> AsyncGenerator[TextDelta, None]: ...

    def on_stats(self, callback: Callable[[StepStats], Any]) -> Any: ...

    async def close(self) -> None: ...
