"""People who ask, read the answer, and ask again: the load of the demonstration.

Each takes the time to think that a plan's load assumes, so a replica that falls behind answers late and breaks its
promise, and the queue stays as long as there are people: nothing piles up that no replica could ever work off.

Answers are not streamed: the replicas judge every request by the times of its tokens all the same, and the machine
that answers has no time to waste on reading them.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import aiohttp
import openai
from openai.types.chat import ChatCompletion

from demo.cluster.plan import LoadPlan
from guide_model.facts import load_facts

REQUEST_SECONDS = 120.0
THINK_SECONDS = 4.0
"""On average, from an answer to the next question."""
ANSWER_SECONDS = 0.5
"""What an answer takes where replicas are enough."""
ARRIVAL_SECONDS = 0.25
"""How often is seen whether people should come or go."""


class Shape(NamedTuple):
    """What one request looks like."""

    notes: int
    """Pieces of text that the question comes with: most of a prompt, as where people ask about documents."""
    answer_tokens: int


DOCUMENTS = Shape(notes=12, answer_tokens=16)
"""About 470 tokens of prompt, and a short answer."""


@dataclass
class Tally:
    """What became of the requests, as their clients saw it."""

    sent: int = 0
    answered: int = 0
    errors: Counter[str] = field(default_factory=Counter)

    @property
    def failed(self) -> int:
        return self.errors.total()

    @property
    def in_flight(self) -> int:
        return self.sent - self.answered - self.failed


class Prompts:
    """Questions to the guide, each with notes drawn for it, so that no two prompts are the same."""

    def __init__(self, shape: Shape, seed: int) -> None:
        facts = load_facts()
        self._notes = [fact.answer for fact in facts.values()]
        self._questions = [question for fact in facts.values() for question in fact.ask]
        self._shape = shape
        self._chance = random.Random(seed)  # noqa: S311 (drawn to be repeatable, not secret)

    def next(self) -> str:
        notes = self._chance.sample(self._notes, self._shape.notes)
        return "\n".join([*notes, self._chance.choice(self._questions)])


class Offering:
    """One run of a plan against an OpenAI-compatible address."""

    def __init__(
        self, plan: LoadPlan, shape: Shape, *, url: str, model: str, proxy_url: str | None, seed: int = 0
    ) -> None:
        self.plan = plan
        self.tally = Tally()
        self._shape, self._url, self._model, self._proxy_url = shape, url, model, proxy_url
        self._prompts = Prompts(shape, seed)
        self._chance = random.Random(seed)  # noqa: S311 (as above)
        self._began: float | None = None
        self._is_over = False

    @property
    def elapsed_seconds(self) -> float:
        """Since the first request could be sent."""
        return 0.0 if self._began is None else time.monotonic() - self._began

    @property
    def people(self) -> int:
        """Who asks at this moment."""
        return 0 if self._is_over or self._began is None else self.plan.people_at(self.elapsed_seconds)

    @property
    def is_falling_away(self) -> bool:
        """Whether the last step has begun."""
        return self._began is not None and self.plan.is_last_step(self.elapsed_seconds)

    def end_early(self) -> None:
        """Everyone goes once answered."""
        self._is_over = True

    async def run(self) -> None:
        """Returns once every request has ended; cancelled, none is left behind."""
        timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
        connector = aiohttp.TCPConnector(limit=0)
        self._began = time.monotonic()
        async with (
            aiohttp.ClientSession(timeout=timeout, connector=connector) as session,
            asyncio.TaskGroup() as everyone,
        ):
            present: list[asyncio.Task[None]] = []
            while self.people:
                present = [person for person in present if not person.done()]
                for number in range(len(present), self.people):
                    present.append(everyone.create_task(self._ask_on(number, session)))
                await asyncio.sleep(ARRIVAL_SECONDS)

    async def _ask_on(self, number: int, session: aiohttp.ClientSession) -> None:
        """Ask, read, think, and ask again, until fewer people are wanted than came before."""
        while True:
            await asyncio.sleep(self._chance.expovariate(1 / THINK_SECONDS))
            if number >= self.people:
                return
            await self._send(session)

    async def _send(self, session: aiohttp.ClientSession) -> None:
        body = request_body(self._model, self._prompts.next(), self._shape)
        self.tally.sent += 1
        try:
            async with session.post(f"{self._url}/chat/completions", json=body, proxy=self._proxy_url) as response:
                answer = await response.read()
                if response.status == 200:
                    self.tally.answered += 1
                else:
                    self.tally.errors[f"{response.status}: {answer[:200].decode(errors='replace')}"] += 1
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self.tally.errors[f"{type(error).__name__}: {error}"[:200]] += 1


def people_of(requests_per_second: float) -> float:
    """How many people make so many requests a second, where they are answered in time."""
    return requests_per_second * (THINK_SECONDS + ANSWER_SECONDS)


def ask_for_size(client: openai.OpenAI, model: str, shape: Shape) -> int:
    """Tokens of a request of this shape, prompt and answer, as the server counts them for one of them."""
    body = request_body(model, Prompts(shape, seed=-1).next(), shape)
    usage = client.post("/chat/completions", body=body, cast_to=ChatCompletion).usage
    assert usage is not None
    return usage.total_tokens


def request_body(model: str, prompt: str, shape: Shape) -> dict[str, Any]:
    """The whole answer is asked for, however soon the model would end it: every request is as much work."""
    return {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": shape.answer_tokens,
        "ignore_eos": True,
        "temperature": 0,
    }
