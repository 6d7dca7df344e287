"""The engine for servers: asyncio in front, the step loop in a process of its own.

Text lives on this side: prompts are tokenized and answers detokenized here, while the worker steps.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
from collections.abc import AsyncGenerator, Callable, Sequence

from fastgen.config import EngineConfig, EngineInfo
from fastgen.core.events import StepStats, TokenEvent
from fastgen.core.sampling_params import MAX_SEED, SamplingParams
from fastgen.errors import EngineDeadError, FastGenError, InvalidRequestError, RequestError, ShuttingDownError
from fastgen.process.choices import Choice, Mailbox
from fastgen.process.framing import FrameError
from fastgen.process.messages import Cancel, Notice, StepReport, Submit
from fastgen.process.worker_process import WorkerProcess
from fastgen.text.stream import TextDelta, TextStream
from fastgen.text.tokenizer import Tokenizer

logger = logging.getLogger(__name__)

FIRST_BACKOFF_SECONDS = 1.0
MAX_BACKOFF_SECONDS = 30.0
STEADY_SECONDS = 60.0
"""A worker that lived this long has earned a first, short back-off again."""
CLOSE_SECONDS = 5.0


class AsyncEngine:
    """One engine for one event loop. Made by `start`, ended by `close` (or `async with`)."""

    def __init__(self, config: EngineConfig, tokenizer: Tokenizer, worker: WorkerProcess, *, restart: bool) -> None:
        self.config = config
        self.tokenizer = tokenizer
        self.info: EngineInfo = worker.info
        self.stats: StepStats | None = None
        """After the latest step; none before the first of this worker."""
        self.restarts = 0
        """How often a dead worker has been replaced."""
        self._restart = restart
        self._worker: WorkerProcess | None = None
        self._revival: asyncio.Task[None] | None = None
        self._closed = False
        self._ids = itertools.count(1)
        self._choices: dict[int, Choice] = {}
        self._stats_callbacks: list[Callable[[StepStats], None]] = []
        self._backoff_seconds = FIRST_BACKOFF_SECONDS
        self._adopt(worker)

    @classmethod
    async def start(cls, config: EngineConfig, *, restart: bool = True) -> AsyncEngine:
        """Load the model in a new process and wait until it can serve.

        Raises ModelError or UsageError as the engine raised them, EngineDeadError if the process died. With
        `restart` a worker that dies later is replaced, after 1, 2, 4 ... 30 seconds.
        """
        loading = asyncio.create_task(WorkerProcess.start(config))
        try:
            # In a thread, while the worker loads the weights: importing transformers takes seconds.
            tokenizer = await asyncio.to_thread(Tokenizer.load, config.model, config.revision)
            worker = await loading
        except BaseException:
            await _abandon(loading)
            raise
        return cls(config, tokenizer, worker, restart=restart)

    @property
    def alive(self) -> bool:
        """Whether requests are served now; false while a dead worker is being replaced."""
        return self._worker is not None

    @property
    def worker_pid(self) -> int | None:
        """The process id of the worker that serves now."""
        return None if self._worker is None else self._worker.pid

    def on_stats(self, callback: Callable[[StepStats], None]) -> None:
        """Call `callback` with every step's statistics, in the event loop's thread. It must be quick."""
        self._stats_callbacks.append(callback)

    async def generate(
        self, prompt_token_ids: Sequence[int], params: SamplingParams, *, priority: int = 0, tenant: str = ""
    ) -> AsyncGenerator[TextDelta, None]:
        """The answer piece by piece, all `params.n` choices interleaved, each ending with a `finish_reason`.

        Raises a RequestError: InvalidRequestError, TooLongError or OverloadedError before the first piece;
        EngineDeadError or OutOfMemoryError at any time. Closing the generator, or cancelling whoever waits
        on it, frees the blocks of all its sequences within one step.
        """
        worker = self._live_worker()
        mailbox = Mailbox()
        prompt = tuple(prompt_token_ids)
        seed = secrets.randbits(63) if params.seed is None else params.seed
        choices = {next(self._ids): self._choice(mailbox, prompt, params, index) for index in range(params.n)}
        try:
            worker.send(Submit(tuple(choices), prompt, params, seed % (MAX_SEED + 1), priority, tenant))
        except FrameError as error:
            raise InvalidRequestError(f"the prompt is too large: {error}", param="prompt") from error
        self._choices.update(choices)
        num_running = params.n
        try:
            while num_running:
                for delta in await mailbox.take():
                    num_running -= delta.finish_reason is not None
                    yield delta
        finally:
            self._forget(choices)

    async def close(self, timeout_seconds: float = CLOSE_SECONDS) -> None:
        """End the worker; requests still waiting get ShuttingDownError. Idempotent."""
        self._closed = True
        worker, self._worker = self._worker, None
        self._fail_all(ShuttingDownError("the engine is shutting down; send the request again, to another replica"))
        if self._revival is not None:
            await _abandon(self._revival)
        if worker is not None:
            await worker.close(timeout_seconds)

    async def __aenter__(self) -> AsyncEngine:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    def _live_worker(self) -> WorkerProcess:
        if self._worker is not None:
            return self._worker
        if self._closed:
            raise ShuttingDownError("the engine has been closed")
        soon = "it is being restarted; try again in a moment" if self._restart else "it is not restarted"
        raise EngineDeadError(f"the engine process has died; {soon}")

    def _choice(self, mailbox: Mailbox, prompt: tuple[int, ...], params: SamplingParams, index: int) -> Choice:
        return Choice(TextStream(self.tokenizer, prompt, params, index), mailbox)

    def _on_news(self, report: Notice | StepReport) -> None:
        """Everything a step brought, in one go: each request that got something wakes up once."""
        cancel = [event.sequence_id for event in report.tokens if self._accept(event)]
        for failure in report.failures:
            choice = self._choices.pop(failure.sequence_id, None)
            if choice is not None:
                choice.fail(failure)
        if cancel:
            self._cancel(cancel)
        if isinstance(report, StepReport):
            self._publish(report.stats)

    def _accept(self, event: TokenEvent) -> bool:
        """Pass an event on; true where its sequence is to be cancelled."""
        choice = self._choices.get(event.sequence_id)
        if choice is None:
            return False
        if event.finish is not None:
            del self._choices[event.sequence_id]
        try:
            return choice.accept(event)
        except Exception as error:  # one answer that cannot be decoded must not take the others along
            logger.exception("the answer of sequence %d cannot be decoded", event.sequence_id)
            choice.fail_with(RequestError(f"the answer cannot be decoded: {error}"))
            return self._choices.pop(event.sequence_id, None) is not None

    def _publish(self, stats: StepStats) -> None:
        self.stats = stats
        for callback in self._stats_callbacks:
            try:
                callback(stats)
            except Exception:  # nor one broken meter all of them
                logger.exception("a statistics callback failed")

    def _forget(self, sequence_ids: Sequence[int] | dict[int, Choice]) -> None:
        """Nobody waits for these any more: cancel those that have not ended."""
        running = [sequence_id for sequence_id in sequence_ids if self._choices.pop(sequence_id, None) is not None]
        if running:
            self._cancel(running)

    def _cancel(self, sequence_ids: Sequence[int]) -> None:
        if self._worker is not None:
            self._worker.send(Cancel(tuple(sequence_ids)))

    def _adopt(self, worker: WorkerProcess) -> None:
        self._worker = worker
        self.info = worker.info
        born = asyncio.get_running_loop().time()
        worker.listen(self._on_news, lambda: self._on_death(worker, born))

    def _on_death(self, worker: WorkerProcess, born_seconds: float) -> None:
        """The connection is gone. Whoever waits is told at once; the rest takes its time."""
        if self._worker is not worker:
            return
        self._worker = None
        self.stats = None
        self._fail_all(EngineDeadError("the engine process died while this request was waiting or running; try again"))
        if asyncio.get_running_loop().time() - born_seconds > STEADY_SECONDS:
            self._backoff_seconds = FIRST_BACKOFF_SECONDS
        self._revival = asyncio.create_task(self._revive(worker))

    def _fail_all(self, error: FastGenError) -> None:
        choices, self._choices = self._choices, {}
        for choice in choices.values():
            choice.fail_with(error)

    async def _revive(self, dead: WorkerProcess) -> None:
        """Bury the dead worker, and start others until one stands."""
        logger.error("the engine process %d ended %s", dead.pid, await dead.reap())
        while self._restart:
            logger.warning("restarting the engine in %g s", self._backoff_seconds)
            await asyncio.sleep(self._backoff_seconds)
            self._backoff_seconds = min(2 * self._backoff_seconds, MAX_BACKOFF_SECONDS)
            try:
                worker = await WorkerProcess.start(self.config)
            except Exception as error:  # whatever it was, the next try may fare better
                logger.error("the engine did not start again: %s", error)
                continue
            self.restarts += 1
            self._adopt(worker)
            return


async def _abandon(task: asyncio.Task[WorkerProcess] | asyncio.Task[None]) -> None:
    """Cancel a task that may hold or be making a worker, and see to it that none is left."""
    task.cancel()
    (outcome,) = await asyncio.gather(task, return_exceptions=True)
    if isinstance(outcome, WorkerProcess):
        await outcome.close(CLOSE_SECONDS)
