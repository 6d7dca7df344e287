"""A process node under a test's control, at a control plane that has no other, and pods on it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastgen_devcluster.node.api import Api, ApiError, KubeObject
from fastgen_devcluster.processes import die_with

PROGRAM = Path(__file__).with_name("pod_program.py")
LOOK_SECONDS = 0.05


class PlayedNode:
    """One process of `python -m fastgen_devcluster.node`, in a folder of its own."""

    def __init__(self, kubeconfig: Path, folder: Path, name: str = "node-0") -> None:
        self.kubeconfig = kubeconfig
        self.folder = folder
        self.name = name
        self.node_folder = folder / "node"
        self.models = folder / "models"
        self.models.mkdir(parents=True)
        (folder / "images.json").write_text(json.dumps({"test/program": [sys.executable, "-u", str(PROGRAM)]}))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [
            *(sys.executable, "-m", "fastgen_devcluster.node"),
            f"--kubeconfig={self.kubeconfig}",
            f"--nodes={self.name}",
            f"--folder={self.node_folder}",
            f"--images={self.folder / 'images.json'}",
            f"--host-path=/var/lib/models={self.models}",
            "--env=GREETING=hello",
            "--backoff-first-seconds=1",
        ]
        with (self.folder / "node.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=die_with(os.getpid()))  # noqa: PLW1509 - a system call, no locks

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Signal it and wait until it has ended."""
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(20)

    def cpu_seconds(self) -> float:
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Pods:
    """The pods of one namespace."""

    def __init__(self, api: Api, namespace: str, node: PlayedNode) -> None:
        self.api = api
        self.namespace = namespace
        self.node = node

    async def begin(self) -> None:
        """Make the namespace, and wait for what pods need of it."""
        await self.api.request("POST", "/api/v1/namespaces", {"metadata": {"name": self.namespace}})
        for path in (self.path("default", "serviceaccounts"), self.path("kube-root-ca.crt", "configmaps")):
            deadline = time.monotonic() + 20
            while not await self.exists(path):
                assert time.monotonic() < deadline, f"{path} does not appear"
                await asyncio.sleep(LOOK_SECONDS)

    async def end(self) -> None:
        """Delete all pods by force, and the namespace."""
        await self.api.request("DELETE", self.path(), {"gracePeriodSeconds": 0})
        await self.api.request("DELETE", f"/api/v1/namespaces/{self.namespace}")

    async def exists(self, path: str) -> bool:
        try:
            await self.api.request("GET", path)
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return True

    async def make(self, kind: str, name: str, **content: Any) -> None:
        """A ConfigMap (`configmaps`), a Secret (`secrets`) and so on."""
        await self.api.request("POST", self.path(kind=kind), {"metadata": {"name": name}, **content})

    async def create(self, name: str, container: KubeObject | list[KubeObject], **spec: Any) -> None:
        """A pod with such containers (named main and so on, of the test program's image)."""
        containers = container if isinstance(container, list) else [container]
        filled = [{"name": "main", "image": "test/program:1", **one} for one in containers]
        body = {
            "metadata": {"name": name, "labels": {"app": name}},
            "spec": {"terminationGracePeriodSeconds": 5, "containers": filled, **spec},
        }
        await self.api.request("POST", self.path(), body)

    def path(self, name: str = "", kind: str = "pods") -> str:
        return f"/api/v1/namespaces/{self.namespace}/{kind}" + (f"/{name}" if name else "")

    async def get(self, name: str) -> KubeObject | None:
        try:
            return await self.api.request("GET", self.path(name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def until(
        self, name: str, condition: Callable[[KubeObject], object], timeout_seconds: float = 15.0
    ) -> KubeObject:
        """The pod once `condition(pod)` is true."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            pod = await self.get(name)
            if pod is not None and condition(pod):
                return pod
            if time.monotonic() > deadline:
                status = json.dumps(pod and pod["status"], indent=1)
                raise AssertionError(f"{name}: not within {timeout_seconds:g} s; its status is {status}")
            await asyncio.sleep(LOOK_SECONDS)

    async def delete(self, name: str, grace_seconds: int | None = None) -> None:
        options = {} if grace_seconds is None else {"gracePeriodSeconds": grace_seconds}
        await self.api.request("DELETE", self.path(name), options)

    async def until_gone(self, name: str, timeout_seconds: float = 15.0) -> float:
        """How long it took, in seconds."""
        began = time.monotonic()
        while await self.get(name) is not None:
            if time.monotonic() - began > timeout_seconds:
                raise AssertionError(f"{name} is still there after {timeout_seconds:g} s")
            await asyncio.sleep(LOOK_SECONDS)
        return time.monotonic() - began

    async def events(self, name: str, reason: str) -> list[KubeObject]:
        selector = f"involvedObject.name={name},reason={reason}"
        found = await self.api.request("GET", self.path(kind="events"), params={"fieldSelector": selector})
        return list(found["items"])

    def log(self, name: str, container: str = "main", run: int = 0) -> Path:
        return self.node.node_folder / "pods" / f"{self.namespace}_{name}" / container / f"{run}.log"

    async def report(self, name: str, container: str = "main") -> Any:
        """What the program said with `report`."""
        log = self.log(name, container)
        await self.until(name, lambda _: log.exists() and log.read_text().endswith("}\n"))
        return json.loads(log.read_text())


def container(pod: KubeObject, name: str = "main") -> KubeObject:
    """The status of one container; empty until there is one."""
    status = pod["status"]
    found = [*status.get("containerStatuses", ()), *status.get("initContainerStatuses", ())]
    return next((one for one in found if one["name"] == name), {"state": {}, "lastState": {}})


def condition(pod: KubeObject, kind: str) -> KubeObject:
    return next((c for c in pod["status"].get("conditions", ()) if c["type"] == kind), {})


def is_ready(pod: KubeObject) -> bool:
    return bool(condition(pod, "Ready").get("status") == "True")


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
