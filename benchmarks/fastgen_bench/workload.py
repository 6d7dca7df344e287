"""Lengths, arrivals and prompts, all from one seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from fastgen.errors import UsageError
from fastgen_bench.config import LoadConfig, Workload
from fastgen_bench.words import WORDS

CountTokens = Callable[[str], int]


@dataclass(frozen=True, slots=True)
class RequestPlan:
    """One request to send."""

    index: int
    prompt: str
    prompt_tokens: int
    """Wanted; what the server counted stands in the record."""
    output_tokens: int


def draw_lengths(rng: np.random.Generator, mean: int, sigma: float, longest: int | None, count: int) -> np.ndarray:
    """`count` lengths in tokens, int64: normal(mean, sigma x mean), rounded, cut at 1 and at `longest`
    (twice the mean where none is given), as in MII's benchmark."""
    lengths = np.rint(rng.normal(mean, sigma * mean, count)).astype(np.int64)
    return np.clip(lengths, 1, longest if longest is not None else 2 * mean)


def arrival_times(rng: np.random.Generator, rate: float) -> Iterator[float]:
    """Seconds from the start, without end: a Poisson process of `rate` arrivals a second, begun at 0."""
    when = 0.0
    while True:
        yield when
        when += float(rng.exponential(1.0 / rate))


class PromptMaker(Protocol):
    """Text of about, or exactly, so many tokens; different from its first word on for each index."""

    def make(self, index: int, num_tokens: int) -> str: ...


class WordPrompts:
    """Random English words, `tokens_per_word` apart on average and `overhead_tokens` for what is added once
    (begin-of-sequence, a chat template)."""

    def __init__(self, seed: int, tokens_per_word: float = 1.3, overhead_tokens: float = 0.0) -> None:
        self._seed = seed
        self._tokens_per_word = tokens_per_word
        self._overhead_tokens = overhead_tokens

    def make(self, index: int, num_tokens: int) -> str:
        num_words = max(1, round((num_tokens - self._overhead_tokens) / self._tokens_per_word))
        return random_words(self._seed, index, num_words)


class ExactPrompts:
    """Words cut to an exact number of tokens, as `count_tokens` counts them."""

    def __init__(self, seed: int, count_tokens: CountTokens) -> None:
        self._seed = seed
        self._count = count_tokens

    def make(self, index: int, num_tokens: int) -> str:
        """Bisects over words, then adds single letters; the nearest length below where none is exact."""
        words = random_words(self._seed, index, num_tokens + 8).split(" ")
        low, high = 0, len(words)
        while low < high:
            middle = (low + high + 1) // 2
            if self._count(" ".join(words[:middle])) <= num_tokens:
                low = middle
            else:
                high = middle - 1
        text = " ".join(words[:low])
        for _ in range(2 * (num_tokens - self._count(text))):
            longer = f"{text} a".lstrip()
            if self._count(longer) > num_tokens:
                break
            text = longer
        return text


def random_words(seed: int, index: int, num_words: int) -> str:
    rng = np.random.default_rng((seed, index))
    return " ".join(WORDS[i] for i in rng.integers(0, len(WORDS), num_words))


def tokenizer_counter(folder: str) -> CountTokens:
    """Counts tokens as the model in `folder` does, begin-of-sequence included."""
    path = Path(folder) / "tokenizer.json"
    if not path.is_file():
        raise UsageError(f"--tokenizer {folder}: there is no tokenizer.json in it")
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    return lambda text: len(tokenizer.encode(text).ids)


def plan_requests(config: Workload, prompts: PromptMaker, *, first_index: int = 0) -> Iterator[RequestPlan]:
    """Requests without end, the same for every point of a sweep: what differs is only the pressure."""
    rng = np.random.default_rng((config.seed, first_index))
    index = first_index
    while True:
        lengths = zip(
            draw_lengths(rng, config.prompt_tokens, config.sigma, config.longest_prompt_tokens, 256),
            draw_lengths(rng, config.output_tokens, config.sigma, config.longest_output_tokens, 256),
            strict=True,
        )
        for prompt_tokens, output_tokens in lengths:
            yield RequestPlan(index, prompts.make(index, int(prompt_tokens)), int(prompt_tokens), int(output_tokens))
            index += 1


def due_times(config: LoadConfig) -> Iterator[float]:
    """When requests are due in an open loop, seconds from the start."""
    if config.rate is None:
        raise UsageError("due_times needs a rate")
    rng = np.random.default_rng((config.seed, 1_000_003))
    for when in arrival_times(rng, config.rate):
        if config.seconds is not None and when >= config.seconds:
            return
        yield when
