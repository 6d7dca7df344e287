"""Clients that keep asking while a cluster changes under them, and remember how each request fared."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import openai
from cluster_deployment import Deployed

WHOLE_TOKENS = 16
STREAM_TOKENS = 400


@dataclass(frozen=True)
class Outcome:
    """One request. Times are of the monotonic clock."""

    began_seconds: float
    ended_seconds: float
    error: str
    """Empty where it was answered to the end."""
    is_stream: bool = False


@dataclass
class Load:
    """What several clients saw; each asks, waits for its answer, and asks again."""

    deployed: Deployed
    stopping: threading.Event = field(default_factory=threading.Event)
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def failures(self) -> list[str]:
        return [outcome.error for outcome in self.outcomes if outcome.error]

    @staticmethod
    def now() -> float:
        return time.monotonic()

    def answered_since(self, moment_seconds: float) -> int:
        """Answers to requests that began after a moment."""
        return sum(1 for outcome in self.outcomes if not outcome.error and outcome.began_seconds > moment_seconds)

    def ask_whole(self, number: int) -> None:
        """One client of answers that come in one piece."""
        with self.deployed.openai() as asking:
            for turn in itertools.count():
                if self.stopping.is_set():
                    return
                self.outcomes.append(ask(asking, self.deployed.name, f"client {number}, question {turn}:"))

    def ask_streams(self) -> None:
        """One client of long streams."""
        while not self.stopping.is_set():
            began = self.now()
            stream = Stream(self.deployed, STREAM_TOKENS)
            stream.end()
            error = "" if stream.is_whole else stream.error or f"{stream.usage_tokens} of {STREAM_TOKENS} tokens"
            self.outcomes.append(Outcome(began, self.now(), error, is_stream=True))


def ask(asking: openai.OpenAI, model: str, prompt: str, tokens: int = WHOLE_TOKENS) -> Outcome:
    """One request that is not streamed, and has a fixed length."""
    began = time.monotonic()
    try:
        answer = asking.completions.create(
            model=model, prompt=prompt, max_tokens=tokens, temperature=0, extra_body={"ignore_eos": True}
        )
    except openai.OpenAIError as error:
        return Outcome(began, time.monotonic(), f"{type(error).__name__}: {error}")
    done = answer.usage.completion_tokens if answer.usage else 0
    return Outcome(began, time.monotonic(), "" if done == tokens else f"{done} of {tokens} tokens")


@contextlib.contextmanager
def load(deployed: Deployed, clients: int = 2, streams: int = 0) -> Iterator[Load]:
    """Load for as long as the `with` lasts: `clients` that wait for whole answers, and `streams` that read along."""
    running = Load(deployed)
    threads = [threading.Thread(target=running.ask_whole, args=(number,)) for number in range(clients)]
    threads += [threading.Thread(target=running.ask_streams) for _ in range(streams)]
    for thread in threads:
        thread.start()
    try:
        yield running
    finally:
        running.stopping.set()
        for thread in threads:
            thread.join()


class Stream:
    """One long streamed answer, read in a thread of its own."""

    def __init__(self, deployed: Deployed, tokens: int) -> None:
        self.tokens = tokens
        self.pieces: list[str] = []
        self.usage_tokens = 0
        self.error = ""
        self._deployed = deployed
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        try:
            with self._deployed.openai() as asking:
                stream = asking.completions.create(
                    model=self._deployed.name,
                    prompt="Tell me everything:",
                    max_tokens=self.tokens,
                    temperature=0,
                    stream=True,
                    stream_options={"include_usage": True},
                    extra_body={"ignore_eos": True},
                )
                for chunk in stream:
                    self.pieces += [choice.text for choice in chunk.choices]
                    self.usage_tokens = chunk.usage.completion_tokens if chunk.usage else self.usage_tokens
        except Exception as error:
            self.error = f"{type(error).__name__}: {error}"

    @property
    def has_begun(self) -> bool:
        return bool(self.pieces)

    @property
    def is_open(self) -> bool:
        return self._thread.is_alive()

    def end(self, timeout_seconds: float = 120.0) -> None:
        """Wait until it has ended, however it did."""
        self._thread.join(timeout_seconds)
        assert not self._thread.is_alive(), f"still open after {timeout_seconds:g} s, {len(self.pieces)} pieces long"

    @property
    def is_whole(self) -> bool:
        return not self.error and self.usage_tokens == self.tokens
