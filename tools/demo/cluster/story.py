"""The demonstration, step by step: what a person would type, and what comes of it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import openai

from demo.cluster import stage
from demo.cluster.narrating import Narrator
from demo.cluster.observing import Observer, Place
from demo.cluster.offering import DOCUMENTS, THINK_SECONDS, Offering, ask_for_size, people_of
from demo.cluster.plan import LoadPlan
from demo.cluster.recording import Recording, Row, capacity, condition
from demo.cluster.table import LoadView
from demo.deployment import DemoError
from demo.talking import QUESTION, ask_by_openai
from fastgen.contract import FastGenDeployment
from fastgen.contract.loading import load_manifest
from fastgen_bench.machine import provenance
from fastgen_devcluster.cluster import DevCluster

MANIFEST = Path("examples/llama.yaml")
NAMESPACE = "default"
OUTPUT = Path("demo-output")
RECORDING, PICTURE = OUTPUT / "scaling.json", OUTPUT / "scaling.png"
READY_SECONDS = 180.0
LOOK_SECONDS = 0.5
CAPACITY_SECONDS = 30.0
CALM_SECONDS = 8.0
"""How long the end of the run stays in view."""


class Show(NamedTuple):
    """What every step needs."""

    cluster: DevCluster
    narrator: Narrator
    deployment: FastGenDeployment

    @property
    def name(self) -> str:
        return self.deployment.name

    @property
    def url(self) -> str:
        """The Service, as pods reach it."""
        return f"http://{self.name}.{NAMESPACE}:{self.deployment.spec.balancer.service.port}/v1"

    @contextlib.contextmanager
    def client(self) -> Iterator[openai.OpenAI]:
        """The openai client, which finds the Service through the cluster's proxy."""
        with openai.DefaultHttpxClient(proxy=self.cluster.proxy_url, timeout=60.0) as http:
            yield openai.OpenAI(base_url=self.url, api_key="none", http_client=http)


def tell(narrator: Narrator, plan: LoadPlan, *, name: str = stage.CLUSTER, keep: bool) -> None:
    """All of it. Raises FastGenError where something is not as promised."""
    narrator.step("a Kubernetes control plane: etcd, API server, scheduler, controllers, Prometheus, two nodes")
    narrator.command(stage.up_command(name))
    with stage.standing(name, keep=keep, on_progress=narrator.shown) as cluster:
        narrator.command("kubectl get nodes")
        narrator.shown(cluster.kubectl("get", "nodes"))
        show = Show(cluster, narrator, load_manifest(MANIFEST))
        try:
            _scenes(show, plan, keep=keep)
        except Exception:
            narrator.say(f"\nWhat the cluster said last:\n{stage.last_words(cluster, NAMESPACE, show.name)}")
            raise
        if keep:
            _how_to_look_inside(show)
            return
        narrator.step("the end: the cluster's processes and files go, too")
        narrator.command(f"devcluster down --name {name}")
    narrator.good("no process and no file is left")


def _scenes(show: Show, plan: LoadPlan, *, keep: bool) -> None:
    _install(show)
    _apply(show)
    _ask(show)
    _load(show, plan)
    _picture(show)
    if not keep:
        _delete(show)


def _install(show: Show) -> None:
    show.narrator.step("the operator, by its chart")
    show.narrator.command("helm " + " ".join(stage.INSTALL))
    began = time.monotonic()
    show.cluster.helm(*stage.INSTALL)
    show.narrator.good(f"installed and ready after {time.monotonic() - began:.0f} s")


def _apply(show: Show) -> None:
    show.narrator.step(f"a model, by one manifest: {MANIFEST}")
    show.narrator.command(f"kubectl apply -f {MANIFEST}")
    show.narrator.shown(show.cluster.kubectl("apply", "-f", str(MANIFEST)))
    show.narrator.command(f"kubectl wait --for=condition=Ready fgd/{show.name} --timeout={READY_SECONDS:.0f}s")
    began, said = time.monotonic(), ""
    while True:
        ready = condition(stage.read(show.cluster, NAMESPACE, show.name), "Ready")
        elapsed = time.monotonic() - began
        if ready and (line := f"Ready={ready['status']} {ready['reason']}: {ready['message']}") != said:
            show.narrator.shown(f"{elapsed:3.0f} s  {line}")
            said = line
        if ready.get("status") == "True":
            break
        if elapsed > READY_SECONDS:
            raise DemoError(
                f"{show.name} is not ready after {READY_SECONDS:.0f} s: {said or 'it has no condition yet'}"
            )
        time.sleep(LOOK_SECONDS)
    for words in (("get", "fgd"), ("get", "pods")):
        show.narrator.command("kubectl " + " ".join(words))
        show.narrator.shown(show.cluster.kubectl(*words, "--namespace", NAMESPACE))


def _ask(show: Show) -> None:
    show.narrator.step(f"the openai client asks {show.url}, the answer is streamed: {QUESTION}")
    with show.client() as client:
        ask_by_openai(client, show.name, show.narrator.console)


def _load(show: Show, plan: LoadPlan) -> None:
    show.narrator.step("load that doubles and falls away, in steps made for what a replica says it can do")
    plan = _sized(show, plan)
    show.narrator.command(f"kubectl get fgd {show.name} --watch")
    offering = Offering(plan, DOCUMENTS, url=show.url, model=show.name, proxy_url=show.cluster.proxy_url)
    observer = Observer(_place(show))
    with provenance() as about:
        asyncio.run(_observed(offering, observer, show))
    recording = observer.recording(about)
    recording.save(RECORDING)
    _judge(show, offering, recording)


def _sized(show: Show, plan: LoadPlan) -> LoadPlan:
    """The plan with requests of this machine: a faster one gets more of them."""
    began = time.monotonic()
    while not (found := capacity(stage.read(show.cluster, NAMESPACE, show.name))):
        if time.monotonic() - began > CAPACITY_SECONDS:
            raise DemoError("the operator has not learnt from Prometheus what a replica can do; is it scraped?")
        time.sleep(LOOK_SECONDS)
    with show.client() as client:
        tokens = ask_for_size(client, show.name, DOCUMENTS)
    sized = dataclasses.replace(plan, unit_people=people_of(found / tokens))
    show.narrator.say(
        f"One replica does {found} tokens/s in time, as it measured, and a request is {tokens} tokens. "
        f"So {', then '.join(map(str, sized.people))} people ask, read for {THINK_SECONDS:g} s, and ask again."
    )
    return sized


def _place(show: Show) -> Place:
    sla = show.deployment.spec.sla
    return Place(
        show.cluster.kubeconfig,
        show.cluster.prometheus_url,
        NAMESPACE,
        show.name,
        sla.generation_tokens_per_second,
        float(sla.target),
    )


async def _observed(offering: Offering, observer: Observer, show: Show) -> None:
    """The load, seen from the API server and Prometheus until it has ended."""
    calm = Calm(offering, show.deployment)

    def on_row(row: Row) -> None:
        view.show(row)
        calm.look(row)

    with LoadView(show.narrator.console, observer, offering) as view:
        looking = asyncio.create_task(observer.run(on_row))
        running = asyncio.create_task(offering.run())
        try:
            await asyncio.wait({looking, running}, return_when=asyncio.FIRST_COMPLETED)
            if looking.done():
                await looking
            await running
        finally:
            for task in (looking, running):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task


class Calm:
    """Ends the load early once it has fallen away and the replicas have followed it."""

    def __init__(self, offering: Offering, deployment: FastGenDeployment) -> None:
        assert deployment.spec.autoscaling is not None
        self._offering, self._fewest = offering, deployment.spec.autoscaling.min_replicas
        self._since_seconds: float | None = None

    def look(self, row: Row) -> None:
        """The newest row."""
        is_calm = self._offering.is_falling_away and row.desired == row.ready == self._fewest
        if not is_calm:
            self._since_seconds = None
        elif self._since_seconds is None:
            self._since_seconds = row.seconds
        elif row.seconds - self._since_seconds >= CALM_SECONDS:
            self._offering.end_early()


def _judge(show: Show, offering: Offering, recording: Recording) -> None:
    """Raises DemoError where a request failed, or the replicas did not follow the load."""
    tally, narrator = offering.tally, show.narrator
    if tally.failed:
        error, count = tally.errors.most_common(1)[0]
        raise DemoError(f"{tally.failed} of {tally.sent} requests failed, {count} of them with: {error}")
    narrator.good(f"{tally.answered} requests, none failed")
    most = max((row.ready or 0 for row in recording.rows), default=0)
    downs = [decision for decision in recording.decisions if decision.replicas < decision.previous]
    if most < 2:
        raise DemoError("the load never made the autoscaler add a replica that became ready; see its reasons above")
    if not downs:
        raise DemoError("the load fell away, and no replica was taken away; see the autoscaler's reasons above")
    decided = "; ".join(decision.text for decision in recording.decisions)
    narrator.good(f"the autoscaler decided, as `kubectl describe fgd {show.name}` lists: {decided}")


def _picture(show: Show) -> None:
    show.narrator.step("the same as a picture")
    # In a process of its own: what drawing needs would stay in memory for the rest of the demonstration.
    subprocess.run([sys.executable, "-m", "demo.cluster.plot", str(RECORDING), str(PICTURE)], check=True)


def _delete(show: Show) -> None:
    show.narrator.step("the model goes, and all that was made for it")
    show.narrator.command(f"kubectl delete -f {MANIFEST}")
    there = len(stage.children(show.cluster, NAMESPACE, show.name))
    show.narrator.shown(show.cluster.kubectl("delete", "-f", str(MANIFEST)))
    seconds = stage.wait_until_gone(show.cluster, NAMESPACE, show.name)
    show.narrator.good(f"all {there} objects are gone, {seconds:.0f} s later")


def _how_to_look_inside(show: Show) -> None:
    cluster, name = show.cluster, show.cluster.name
    body = f'{{"model": "{show.name}", "messages": [{{"role": "user", "content": "{QUESTION}"}}]}}'
    show.narrator.say(f"""
It is still running (KEEP=1). Look inside:

  export PATH=$PWD/.venv/bin:$PATH KUBECONFIG={cluster.kubeconfig}
  devcluster kubectl --name {name} describe fgd {show.name}
                                conditions, decisions, events; any kubectl works as well
  devcluster kubectl --name {name} logs deployment/{stage.RELEASE} --namespace {stage.SYSTEM}
  devcluster status --name {name}
                                every process, and where its log is
  curl -x {cluster.proxy_url} {show.url}/chat/completions \\
       -H 'Content-Type: application/json' -d '{body}'
  {cluster.prometheus_url}
                                Prometheus, in a browser
  devcluster down --name {name}
                                ends it and removes everything""")
