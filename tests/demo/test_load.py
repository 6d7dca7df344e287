"""The load of the demonstration: as many people as the plan says, each of whom waits for the answer."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest
from aiohttp import web

from demo.cluster import offering as offering_module
from demo.cluster.offering import DOCUMENTS, Offering, Prompts, people_of
from demo.cluster.plan import DOUBLING, SHORT, LoadPlan, Step


def test_the_load_doubles_and_falls_away() -> None:
    plan = dataclasses.replace(DOUBLING, unit_people=100.0)
    assert plan.people == (35, 70, 140, 12)
    first, *_, last = plan.steps
    assert plan.people_at(-1.0) == 0
    assert plan.people_at(first.seconds - 0.1) == 35
    assert plan.people_at(first.seconds) == 70
    assert plan.people_at(plan.seconds - last.seconds - 0.1) == 140
    assert not plan.is_last_step(plan.seconds - last.seconds - 0.1)
    assert plan.is_last_step(plan.seconds - last.seconds)
    assert plan.people_at(plan.seconds - 0.1) == 12
    assert plan.people_at(plan.seconds) == 0


def test_even_the_slowest_machine_is_asked_by_somebody() -> None:
    assert min(dataclasses.replace(SHORT, unit_people=0.1).people) == 1


def test_people_think_between_questions() -> None:
    assert people_of(2.0) == pytest.approx(2.0 * (offering_module.THINK_SECONDS + offering_module.ANSWER_SECONDS))


def test_no_two_prompts_are_the_same_and_a_seed_repeats_them() -> None:
    prompts = Prompts(DOCUMENTS, seed=1)
    drawn = [prompts.next() for _ in range(50)]
    assert len(set(drawn)) == 50
    assert drawn[0] == Prompts(DOCUMENTS, seed=1).next()
    assert all(len(prompt.splitlines()) == DOCUMENTS.notes + 1 for prompt in drawn)


class Server:
    """Answers after a moment, or as it is told."""

    def __init__(self) -> None:
        self.status = 200
        self.now = self.most = 0

    async def answer(self, request: web.Request) -> web.Response:
        await request.json()
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.02)
        self.now -= 1
        return web.json_response({}, status=self.status)


async def run(server: Server, plan: LoadPlan, *, end_after_seconds: float | None = None) -> Offering:
    application = web.Application()
    application.router.add_post("/v1/chat/completions", server.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    offering = Offering(plan, DOCUMENTS, url=f"http://127.0.0.1:{port}/v1", model="llama", proxy_url=None)
    try:
        async with asyncio.timeout(20):
            if end_after_seconds is not None:
                asyncio.get_running_loop().call_later(end_after_seconds, offering.end_early)
            await offering.run()
    finally:
        await runner.cleanup()
    return offering


@pytest.fixture(autouse=True)
def _quick_people(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offering_module, "THINK_SECONDS", 0.02)
    monkeypatch.setattr(offering_module, "ARRIVAL_SECONDS", 0.02)


async def test_never_more_requests_than_people_and_every_one_ends() -> None:
    server = Server()
    offering = await run(server, LoadPlan((Step(1, 0.3), Step(6, 0.5), Step(1, 0.3))))
    assert 3 <= server.most <= 6
    assert offering.tally.answered == offering.tally.sent > 10
    assert (offering.tally.failed, offering.tally.in_flight) == (0, 0)


async def test_a_refusal_is_counted_with_its_words() -> None:
    server = Server()
    server.status = 503
    offering = await run(server, LoadPlan((Step(2, 0.3),)))
    assert offering.tally.failed == offering.tally.sent > 0
    assert all(error.startswith("503") for error in offering.tally.errors)


async def test_it_ends_early_when_told() -> None:
    offering = await run(Server(), LoadPlan((Step(1, 0.1), Step(1, 3600.0))), end_after_seconds=0.3)
    assert offering.tally.in_flight == 0
    assert offering.people == 0
