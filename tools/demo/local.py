"""`make demo-local`: from a model folder to answers that keep a promise, on this machine, without a cluster.

python -m demo.local          all of it, ended cleanly
KEEP=1 python -m demo.local   the same, left running
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import openai
from rich.console import Console
from rich.markup import escape

from demo.deployment import NAME, Deployment
from demo.loading import VICTIM, LoadReport, load_and_kill
from demo.talking import QUESTION, ask_by_grpc, ask_by_openai
from fastgen.errors import FastGenError
from fastgen.local_state import DeploymentRecord
from fastgen_bench.machine import provenance
from fastgen_bench.metrics import Summary, summarize_load
from fastgen_bench.report import write_json
from fastgen_bench.session import point_table

ROOT = Path(__file__).parents[2]
MANIFEST = Path("examples/local.yaml")
OUTPUT = Path("demo-output")
INTERRUPTED = 130


def main() -> int:
    """Run the demonstration; the exit status."""
    os.chdir(ROOT)
    OUTPUT.mkdir(exist_ok=True)
    console = Console(highlight=False)
    deployment = Deployment(MANIFEST, OUTPUT / "fastgen-up.log")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()
    try:
        show(deployment, console, keep=os.environ.get("KEEP", "") not in ("", "0"))
    except KeyboardInterrupt:
        console.print("\ninterrupted; everything that was started has ended")
        return INTERRUPTED
    except (FastGenError, OSError) as error:
        console.print(f"\n[red]The demonstration failed:[/] {escape(str(error))}", soft_wrap=True)
        console.print(f"Logs: {deployment.logs}", soft_wrap=True)
        return 1
    console.print(f"\n[green]The demonstration succeeded[/] in {time.monotonic() - began:.0f} s.")
    return 0


def show(deployment: Deployment, console: Console, *, keep: bool) -> None:
    """Step by step. Raises DemoError where something is not as promised."""
    _step(console, 1, f"{deployment.command}: two replicas of the demonstration model, a balancer in front")
    with deployment.running(keep=keep):
        record = _wait_ready(deployment, console)
        _step(console, 2, f"the openai client asks, the answer is streamed: {QUESTION}")
        ask_by_openai(openai.OpenAI(base_url=f"http://{record.http}/v1", api_key="none"), NAME, console)
        _step(console, 3, "the same through gRPC")
        ask_by_grpc(record, console)
        _step(console, 4, f"load for 30 seconds; in the middle {VICTIM} is killed with SIGKILL")
        report = asyncio.run(load_and_kill(deployment, record, console))
        _tell(report, console)
        _step(console, 5, "effective throughput: requests a second that met their latency promise")
        _write(report, console)
        if keep:
            _how_to_talk(deployment, record, console)
        else:
            _step(console, 6, "the end: running requests finish, then every process goes")


def _step(console: Console, number: int, text: str) -> None:
    console.print(f"\n[bold cyan]{number}.[/] [bold]{escape(text)}[/]", soft_wrap=True)


def _wait_ready(deployment: Deployment, console: Console) -> DeploymentRecord:
    began = time.monotonic()
    with console.status("starting") as status:
        for record in deployment.wait_ready():
            ready = f"{record.replicas_ready} of {record.replicas} replicas ready" if record else "starting"
            status.update(f"{ready}, {time.monotonic() - began:.0f} s (weights, then how many tokens a step may have)")
    found = deployment.record()
    if found is None:
        raise FastGenError(f"{deployment.folder} was removed while the demonstration ran")
    console.print(f"ready after {time.monotonic() - began:.0f} s: http://{found.http}/v1 and grpc://{found.grpc}")
    return found


def _tell(report: LoadReport, console: Console) -> None:
    streamed = [request for point in report.points for request in point.records]
    cut = sum(not request.ok for request in streamed)
    console.print(
        f"{VICTIM} was killed under load and back {report.seconds_until_back:.0f} s later.\n"
        f"Not streamed: {len(report.whole.records)} requests, [green]none failed[/]; "
        f"{report.retries} of all were tried again elsewhere.\n"
        f"Streamed: {len(streamed)} requests; {cut} of them were being answered by the replica that died and ended "
        "with an error, as they must: what has begun is never answered twice.",
        soft_wrap=True,
    )


def _write(report: LoadReport, console: Console) -> None:
    points: list[Summary] = [summarize_load(point) for point in report.points]
    console.print(point_table(points))
    with provenance() as about:
        result = {"kind": "demo", **about, "points": points, "not_streamed": summarize_load(report.whole)}
    paths = [write_json(OUTPUT / "result.json", result)]
    with console.status("drawing"):
        from fastgen_bench.plots import plot

        subtitle = f"demonstration model, 2 replicas on one machine; {VICTIM} killed in the middle"
        paths += plot({NAME: points}, OUTPUT, subtitle=subtitle)
    for path in paths:
        console.print(f"wrote {path}", soft_wrap=True)


def _how_to_talk(deployment: Deployment, record: DeploymentRecord, console: Console) -> None:
    body = f'{{"model": "{NAME}", "messages": [{{"role": "user", "content": "{QUESTION}"}}]}}'
    python = ".venv/bin/python"
    text = f"""
It is still running (KEEP=1). Talk to it:

  curl http://{record.http}/v1/chat/completions -H 'Content-Type: application/json' -d '{body}'
  {python} -c 'import openai; print(openai.OpenAI(base_url="http://{record.http}/v1", api_key="none").models.list())'
  {python} -c 'import fastgen; print(fastgen.client("{NAME}").generate("{QUESTION}", max_new_tokens=60)[0])'
  .venv/bin/fastgen bench --url http://{record.http} --seconds 10
  curl http://{record.http}/metrics
  .venv/bin/fastgen ps
  .venv/bin/fastgen down {NAME}

Logs: {deployment.logs}"""
    console.print(escape(text), soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
