"""A pod's status from its containers' views, as a kubelet reports it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fastgen_devcluster.node.api import KubeObject
from fastgen_devcluster.node.fields import Addresses
from fastgen_devcluster.node.views import Running, State, Terminated, View, Waiting

OURS = ("PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready")
"""The conditions a kubelet writes; PodScheduled and others are somebody else's and stay."""
REPLACE = {"$patch": "replace"}


class Seen(NamedTuple):
    """All that a pod's status is made from."""

    init: Sequence[View]
    containers: Sequence[View]
    addresses: Addresses | None
    """None until the pod has any."""
    started_at: str
    now: str
    failure: tuple[str, str] | None = None
    """Reason and message of a pod that failed as a whole."""


def pod_status(pod: KubeObject, seen: Seen) -> KubeObject:
    """What to patch into `pod.status`; `pod` has the status as it was."""
    generation = pod["metadata"].get("generation")
    before = pod.get("status", {})
    is_ready, reason, message = readiness(pod, seen)
    initialized = not unfinished_init(pod, seen)
    outcome = phase(pod, seen)
    why_not = {"reason": reason, "message": message} if not is_ready else {}
    conditions = {
        "PodReadyToStartContainers": (seen.addresses is not None, {}),
        "Initialized": (initialized, {} if initialized else _not_initialized(pod, seen)),
        "ContainersReady": (is_ready, why_not),
        "Ready": (is_ready and _gates_open(pod), why_not or _closed_gates(pod)),
    }
    if outcome == "Succeeded":
        conditions["Initialized"] = (True, {"reason": "PodCompleted"})
    status: KubeObject = {
        "observedGeneration": generation,
        "phase": outcome,
        "conditions": [_condition(before, name, *conditions[name], seen.now, generation) for name in OURS],
        "startTime": seen.started_at,
        "containerStatuses": [container_status(view) for view in seen.containers],
        "initContainerStatuses": [container_status(view) for view in seen.init],
    }
    if seen.failure:
        status["reason"], status["message"] = seen.failure
    if seen.addresses:
        pod_ip, host_ip = seen.addresses
        # As a patch these two lists would grow: after a restart of the node a pod has another address.
        status |= {"podIP": pod_ip, "podIPs": [REPLACE, {"ip": pod_ip}]}
        status |= {"hostIP": host_ip, "hostIPs": [REPLACE, {"ip": host_ip}]}
    return status


def _condition(
    before: Mapping[str, Any], kind: str, holds: bool, why: Mapping[str, str], now: str, generation: int | None
) -> KubeObject:
    """One condition; its transition time moves only when it turns."""
    old: Mapping[str, Any] = next((c for c in before.get("conditions", ()) if c["type"] == kind), {})
    status = "True" if holds else "False"
    turned_at = old["lastTransitionTime"] if old.get("status") == status else now
    absent = {"reason": None, "message": None}  # a patch removes what is null
    return {
        "type": kind,
        "status": status,
        "lastProbeTime": None,
        "lastTransitionTime": turned_at,
        "observedGeneration": generation,
        **absent,
        **why,
    }


def is_sidecar(container: Mapping[str, Any]) -> bool:
    """An init container that goes on running beside the others."""
    return container.get("restartPolicy") == "Always"


def restart_policy(pod: KubeObject, container: Mapping[str, Any], *, is_init: bool) -> str:
    """Always, OnFailure or Never; an init container that succeeded is never run again for itself."""
    own = container.get("restartPolicy")
    if own:
        return str(own)
    policy = str(pod["spec"].get("restartPolicy", "Always"))
    return "OnFailure" if is_init and policy == "Always" else policy


def will_restart(policy: str, exit_code: int) -> bool:
    return policy == "Always" or (policy == "OnFailure" and exit_code != 0)


def unfinished_init(pod: KubeObject, seen: Seen) -> list[str]:
    """Init containers that main containers still wait for."""
    unfinished = []
    for container, view in zip(pod["spec"].get("initContainers", ()), seen.init, strict=True):
        if is_sidecar(container):
            done = view.is_started or (isinstance(view.state, Terminated | Waiting) and view.last is not None)
            done = done or isinstance(view.state, Terminated)
        else:
            done = isinstance(view.state, Terminated) and view.state.exit_code == 0
        if not done:
            unfinished.append(view.name)
    return unfinished


def _not_initialized(pod: KubeObject, seen: Seen) -> dict[str, str]:
    names = " ".join(unfinished_init(pod, seen))
    return {"reason": "ContainersNotInitialized", "message": f"containers with incomplete status: [{names}]"}


def readiness(pod: KubeObject, seen: Seen) -> tuple[bool, str, str]:
    """Whether all containers are ready, and why not."""
    outcome = phase(pod, seen)
    if outcome == "Succeeded":
        return False, "PodCompleted", ""
    if outcome == "Failed":
        return False, "PodFailed", ""
    sidecars = [v for c, v in zip(pod["spec"].get("initContainers", ()), seen.init, strict=True) if is_sidecar(c)]
    unready = [view.name for view in (*sidecars, *seen.containers) if not view.is_ready]
    if unready:
        return False, "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]"
    return True, "", ""


def _gates_open(pod: KubeObject) -> bool:
    return not _closed_gates(pod)


def _closed_gates(pod: KubeObject) -> dict[str, str]:
    """Readiness gates that others have to open and have not."""
    true = {c["type"] for c in pod.get("status", {}).get("conditions", ()) if c["status"] == "True"}
    closed = [g["conditionType"] for g in pod["spec"].get("readinessGates", ()) if g["conditionType"] not in true]
    return {"reason": "ReadinessGatesNotReady", "message": f"waiting for {', '.join(closed)}"} if closed else {}


def phase(pod: KubeObject, seen: Seen) -> str:
    """Pending, Running, Succeeded or Failed, by a kubelet's rules."""
    if seen.failure:
        return "Failed"
    spec = pod["spec"]
    for container, view in zip(spec.get("initContainers", ()), seen.init, strict=True):
        if not is_sidecar(container) and isinstance(view.state, Terminated) and view.state.exit_code != 0:
            if not will_restart(restart_policy(pod, container, is_init=True), view.state.exit_code):
                return "Failed"
            return "Pending"
    has_begun = any(view.last or not isinstance(view.state, Waiting) for view in seen.containers)
    if unfinished_init(pod, seen) and not has_begun:  # a sidecar that starts again takes nothing back
        return "Pending"
    if any(isinstance(view.state, Waiting) and view.last is None for view in seen.containers):
        return "Pending"
    if any(isinstance(view.state, Running) for view in (*seen.containers, *seen.init)):
        return "Running"
    ended = [view.state if isinstance(view.state, Terminated) else view.last for view in seen.containers]
    for container, end in zip(spec["containers"], ended, strict=True):
        if end is not None and will_restart(restart_policy(pod, container, is_init=False), end.exit_code):
            return "Running"
    return "Succeeded" if all(end is not None and end.exit_code == 0 for end in ended) else "Failed"


def container_status(view: View) -> KubeObject:
    return {
        "name": view.name,
        "image": view.image,
        "imageID": view.image_id,
        "containerID": view.container_id,
        "restartCount": view.restarts,
        "ready": view.is_ready,
        "started": view.is_started,
        "state": _state(view.state),
        "lastState": _state(view.last) if view.last else {},
    }


def _state(state: State) -> KubeObject:
    match state:
        case Waiting(reason, message):
            return {"waiting": {"reason": reason, **({"message": message} if message else {})}}
        case Running(started_at):
            return {"running": {"startedAt": started_at}}
    ended = {"exitCode": state.exit_code, "reason": state.reason, "message": state.message}
    ended |= {"startedAt": state.started_at, "finishedAt": state.finished_at, "containerID": state.container_id}
    return {"terminated": {key: value for key, value in ended.items() if value != ""}}


def view_of(status: Mapping[str, Any]) -> View:
    """What an API server has on record of a container; the other way round from `container_status`."""
    return View(
        status["name"],
        status["image"],
        _state_of(status.get("state", {})) or Waiting("ContainerCreating"),
        _terminated_of(status.get("lastState", {})),
        status.get("restartCount", 0),
        image_id=status.get("imageID", ""),
        container_id=status.get("containerID", ""),
    )


def _state_of(state: Mapping[str, Any]) -> State | None:
    if "running" in state:
        return Running(state["running"].get("startedAt", ""))
    if "waiting" in state:
        return Waiting(state["waiting"].get("reason", ""), state["waiting"].get("message", ""))
    return _terminated_of(state)


def _terminated_of(state: Mapping[str, Any]) -> Terminated | None:
    if "terminated" not in state:
        return None
    ended = state["terminated"]
    return Terminated(
        ended["exitCode"],
        ended.get("reason", ""),
        ended.get("startedAt", ""),
        ended.get("finishedAt", ""),
        ended.get("message", ""),
        ended.get("containerID", ""),
    )
