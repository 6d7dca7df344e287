"""`fastgen up` from start to end: a supervisor, an observer, a view, and Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.live import Live

from fastgen.errors import UsageError
from fastgen_server.local.observer import Observer
from fastgen_server.local.planning import LocalPlan
from fastgen_server.local.supervisor import Supervisor
from fastgen_server.local.view import plain_line, render

VIEW_SECONDS = 0.5
PLAIN_SECONDS = 5.0
PLAIN_QUIET_SECONDS = 60.0


async def run_plan(plan: LocalPlan, *, view: bool, detached: bool) -> None:
    """Run until Ctrl-C or SIGTERM, then drain. Raises FastGenError where the deployment cannot be brought up."""
    console = Console(highlight=False)
    say: Callable[[str], None] = console.print if view else _say_plainly
    supervisor = Supervisor(plan, notify=say, detached=detached)
    observer = Observer(supervisor)
    with _stop_on_signals(supervisor, say):
        watchers = [
            asyncio.create_task(observer.run()),
            asyncio.create_task(_show_live(observer, console) if view else _show_lines(observer)),
        ]
        try:
            await supervisor.run()
        finally:
            for watcher in watchers:
                watcher.cancel()
            ends = await asyncio.gather(*watchers, return_exceptions=True)
    for end in ends:
        if isinstance(end, Exception):  # a bug in the view must not have stopped the serving, and must not hide either
            raise end


async def _show_live(observer: Observer, console: Console) -> None:
    with Live(render(observer.snapshot()), console=console, auto_refresh=False, transient=False) as live:
        while True:
            await asyncio.sleep(VIEW_SECONDS)
            live.update(render(observer.snapshot()), refresh=True)


async def _show_lines(observer: Observer) -> None:
    """A line whenever something changed, and now and then a sign of life."""
    said, said_at = "", 0.0
    while True:
        await asyncio.sleep(PLAIN_SECONDS)
        line = plain_line(observer.snapshot())
        if line != said or time.monotonic() - said_at >= PLAIN_QUIET_SECONDS:
            said, said_at = line, time.monotonic()
            _say_plainly(line)


def _say_plainly(line: str) -> None:
    print(f"{time.strftime('%T')} {line}", file=sys.stdout, flush=True)


@contextlib.contextmanager
def _stop_on_signals(supervisor: Supervisor, say: Callable[[str], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    asked = False

    def stop() -> None:
        nonlocal asked
        say("ending at once" if asked else "finishing what runs; once more ends at once")
        asked = True
        supervisor.request_stop()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.remove_signal_handler(number)


def check_port_free(host: str, port: int, flag: str) -> None:
    """Raises UsageError where something listens there already; port 0 is always free."""
    if port == 0:
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UsageError(
                f"{flag} {port}: cannot listen on {host}:{port} ({error.strerror}); {flag} 0 takes any free port"
            ) from None
