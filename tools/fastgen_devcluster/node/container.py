"""One container's life: started, probed, kept to its limits, started again after it ended, ended when its pod ends."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Literal

from fastgen_devcluster.errors import DevClusterError
from fastgen_devcluster.node import logs
from fastgen_devcluster.node.backoff import Backoff
from fastgen_devcluster.node.container_run import CANNOT_START, ContainerRun
from fastgen_devcluster.node.ending import Ending
from fastgen_devcluster.node.images import Image, ImageNotFoundError
from fastgen_devcluster.node.pod_parts import Launch, PodParts
from fastgen_devcluster.node.status import restart_policy, will_restart
from fastgen_devcluster.node.views import Running, Terminated, View, Waiting, timestamp

CONFIG_RETRY_SECONDS = 5.0


class Container:
    """One container of one pod. `view` is what is known of it; `changed` is called after each change."""

    def __init__(
        self,
        spec: Mapping[str, Any],
        parts: PodParts,
        *,
        is_init: bool,
        before: View | None,
        changed: Callable[[], None],
    ) -> None:
        self.spec = spec
        self._parts = parts
        self._changed = changed
        self._policy = restart_policy(parts.known.pod, spec, is_init=is_init)
        waiting = Waiting("PodInitializing" if parts.known.pod["spec"].get("initContainers") else "ContainerCreating")
        self.view = before or View(spec["name"], spec["image"], waiting)
        self.has_started = asyncio.Event()
        """As a sidecar must have before what comes after it may begin."""

    def show(self, **fields: Any) -> None:
        """Change the view."""
        view = self.view._replace(**fields)
        if view != self.view:
            self.view = view
            self._changed()
        if view.is_started:
            self.has_started.set()

    async def run(self, ending: Ending) -> None:
        """Run it again and again, as its restart policy says, until it may not or `ending` is asked for."""
        config = self._parts.node.settings.config
        backoff = Backoff(config.backoff_first_seconds, config.backoff_most_seconds)
        loop = asyncio.get_running_loop()
        if isinstance(self.view.state, Terminated) and not will_restart(self._policy, self.view.state.exit_code):
            return  # an earlier node process saw it end
        while not ending.is_asked:
            image = await self._image(ending)
            launch = await self._launch(image, ending) if image else None
            if launch is None:
                break
            began = loop.time()
            ended = await self._run_once(launch, ending)
            self.show(state=ended, is_ready=False, is_started=False)
            if ending.is_asked or not will_restart(self._policy, ended.exit_code):
                return
            backoff = backoff.after(loop.time() - began)
            if backoff.wait_seconds:
                message = f"restarting failed container {self.view.name} in pod {self._parts.name}"
                self._emit("Warning", "BackOff", f"Back-off {message}")
                waiting = Waiting("CrashLoopBackOff", f"back-off {backoff.wait_seconds:g}s {message}")
                self.show(state=waiting, last=ended)
                await ending.sleep(backoff.wait_seconds)
        if not isinstance(self.view.state, Terminated):
            never = Terminated(137, "ContainerStatusUnknown", message="the pod ended before this container began")
            self.show(state=self.view.last or never)

    async def _image(self, ending: Ending) -> Image | None:
        """What stands for the image; waits while nothing does. None where the end was asked for."""
        backoff = Backoff(self._parts.node.settings.config.backoff_first_seconds, failures=1)
        reference = self.spec["image"]
        while not ending.is_asked:
            try:
                return self._parts.node.images.find(reference)
            except DevClusterError as error:
                message = f"Failed to pull image {error}" if isinstance(error, ImageNotFoundError) else str(error)
                self._emit("Warning", "Failed", message)
                self._emit("Warning", "Failed", "Error: ErrImagePull")
                self.show(state=Waiting("ErrImagePull", message))
                backoff = backoff.after(0.0)
                await ending.sleep(1.0)
                self._emit("Normal", "BackOff", f'Back-off pulling image "{reference}"')
                self._emit("Warning", "Failed", "Error: ImagePullBackOff")
                self.show(state=Waiting("ImagePullBackOff", f'Back-off pulling image "{reference}": {message}'))
                await ending.sleep(backoff.wait_seconds)
        return None

    async def _launch(self, image: Image, ending: Ending) -> Launch | None:
        """Command and environment; waits while a ConfigMap or Secret is missing. None where the end was asked for."""
        reference = self.spec["image"]
        self._emit("Normal", "Pulled", f'Container image "{reference}" already present on machine')
        while not ending.is_asked:
            try:
                return await self._parts.launch(self.spec, image)
            except DevClusterError as error:
                self._emit("Warning", "Failed", f"Error: {error}")
                self.show(state=Waiting("CreateContainerConfigError", str(error)))
                await ending.sleep(CONFIG_RETRY_SECONDS)
        return None

    async def _run_once(self, launch: Launch, ending: Ending) -> Terminated:
        """One run; the view has said what it was once this returns."""
        identity, began = secrets.token_hex(16), timestamp()
        last = self.view.state if isinstance(self.view.state, Terminated) else self.view.last
        restarts = self.view.restarts + (last is not None)
        container_id = f"process://{identity}"
        self.show(container_id=container_id, image_id=launch.image.image_id, restarts=restarts, last=last)
        log = logs.new_log(launch.folder, restarts)
        try:
            run = ContainerRun(self.spec, self._parts, launch, identity, log)
        except OSError as error:
            message = f"failed to start {launch.command[0]}: {error.strerror}"
            self._emit("Warning", "Failed", f"Error: {message}")
            return Terminated(CANNOT_START, "StartError", began, timestamp(), message, container_id)
        self._emit("Normal", "Created", f"Container created: {self.view.name}")
        self._emit("Normal", "Started", f"Container started: {self.view.name}")
        self.show(state=Running(began))
        code = await run.attend(ending, self.show)
        reason = "OOMKilled" if run.is_out_of_memory else "Completed" if code == 0 else "Error"
        message = logs.termination_message(self.spec, launch.termination_message, log, code)
        return Terminated(code, reason, began, timestamp(), message, container_id)

    def _emit(self, kind: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        self._parts.emit(kind, reason, message, self.view.name)
