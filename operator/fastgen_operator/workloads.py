"""What children of a FastGenDeployment say about themselves, in the few words that status and autoscaler need. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from fastgen.contract import labels

Json = Mapping[str, Any]


class Rollout(NamedTuple):
    """How far a Deployment's pods are. Pods that are being deleted are not counted: balancers send them nothing new."""

    exists: bool = False
    wanted: int = 0
    replicas: int = 0
    """Pods there are."""
    ready: int = 0
    updated: int = 0
    """Pods made from the present spec."""
    is_current: bool = False
    """The Deployment itself was made from the present spec."""
    is_stuck: bool = False
    """Its progress deadline has passed."""

    @property
    def only_current_serves(self) -> bool:
        """No pod of an older spec is left, and none will come."""
        return self.is_current and self.updated == self.replicas

    @property
    def is_done(self) -> bool:
        """As many as wanted, all of the present spec, all ready."""
        return self.only_current_serves and self.ready == self.replicas == self.wanted


def rollout_of(child: Json | None, should: Json, pods: Iterable[Json]) -> Rollout:
    """Compare a live Deployment (None: there is none) and its pods with the one that should be.

    The hash that every pod carries is what counts. A Deployment's own numbers speak of the template that its
    controller last saw.
    """
    wanted, made_from = should["spec"]["replicas"], hash_of(should)
    alive = [pod for pod in pods if is_alive(pod)]
    conditions = {} if child is None else _conditions(child)
    return Rollout(
        exists=child is not None,
        wanted=wanted,
        replicas=len(alive),
        ready=sum(map(is_ready, alive)),
        updated=sum(hash_of(pod) == made_from for pod in alive),
        is_current=child is not None and hash_of(child) == made_from,
        is_stuck=(conditions.get("Progressing") or {}).get("reason") == "ProgressDeadlineExceeded",
    )


def standing_rollout(child: Json | None, pods: Iterable[Json]) -> Rollout:
    """What there is, where nobody can say what should be: the manifest cannot be made into objects."""
    alive = [pod for pod in pods if is_alive(pod)]
    ready = sum(map(is_ready, alive))
    return Rollout(exists=child is not None, wanted=len(alive), replicas=len(alive), ready=ready)


def hash_of(thing: Json) -> str | None:
    """What a Deployment or pod says it was made from."""
    found: str | None = ((thing.get("metadata") or {}).get("annotations") or {}).get(labels.SPEC_HASH)
    return found


def is_ready(pod: Json) -> bool:
    """Whether balancers send requests to it."""
    return (_conditions(pod).get("Ready") or {}).get("status") == "True"


def is_alive(pod: Json) -> bool:
    phase = (pod.get("status") or {}).get("phase")
    return (pod.get("metadata") or {}).get("deletionTimestamp") is None and phase not in ("Succeeded", "Failed")


def _conditions(thing: Json) -> dict[Any, Json]:
    return {condition.get("type"): condition for condition in (thing.get("status") or {}).get("conditions") or ()}


class Trouble(NamedTuple):
    """Why a pod is not ready, as Kubernetes says it."""

    reason: str
    message: str


def num_late(pods: Iterable[Json], now: datetime, deadline_seconds: float) -> int:
    """Pods that should have become ready by now."""
    return sum(
        1
        for pod in pods
        if is_alive(pod)
        and not is_ready(pod)
        and (now - _time(pod["metadata"]["creationTimestamp"])).total_seconds() > deadline_seconds
    )


def trouble_of(pods: Iterable[Json], child: Json | None = None) -> Trouble | None:
    """The most telling trouble among pods that are not ready, or that their Deployment `child` may not even make.

    None where they are only starting.
    """
    found = [trouble for pod in pods if is_alive(pod) and not is_ready(pod) for trouble in _troubles(pod)]
    failure = _conditions(child or {}).get("ReplicaFailure") or {}
    if failure.get("status") == "True":
        found.append(Trouble("PodsRefused", f"pods cannot be made: {_short(failure.get('message'))}"))
    return min(found, key=lambda trouble: _ORDER.index(trouble.reason), default=None)


_ORDER = ("PodsRefused", "ImageUnavailable", "Misconfigured", "LoadFailed", "Unschedulable")
_IMAGE = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_CONFIG = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_MESSAGE_CHARACTERS = 400


def _troubles(pod: Json) -> Iterable[Trouble]:
    status = pod.get("status") or {}
    name = (pod.get("metadata") or {}).get("name", "?")
    scheduled = _conditions(pod).get("PodScheduled") or {}
    if scheduled.get("status") == "False":
        yield Trouble("Unschedulable", f"pod {name} finds no node: {_short(scheduled.get('message'))}")
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        state = container.get("state") or {}
        waiting = state.get("waiting") or {}
        ended = state.get("terminated") or (container.get("lastState") or {}).get("terminated") or {}
        if waiting.get("reason") in _IMAGE:
            image = container.get("image", "?")
            yield Trouble("ImageUnavailable", f"pod {name} cannot get image {image}: {_short(waiting.get('message'))}")
        elif waiting.get("reason") in _CONFIG:
            yield Trouble("Misconfigured", f"pod {name} cannot start: {_short(waiting.get('message'))}")
        elif ended.get("reason") == "OOMKilled":
            yield Trouble(
                "LoadFailed",
                f"pod {name} was killed for want of memory; raise spec.resources.limits.memory, or lower "
                "spec.engine.kvBytes or maxModelTokens",
            )
        elif ended and ended.get("exitCode") != 0:
            said = _last_lines(ended.get("message"))
            yield Trouble(
                "LoadFailed",
                f"pod {name} ended with {ended.get('exitCode')} ({container.get('restartCount', 0)} restarts): "
                f"{said or 'it left no message; see its log'}",
            )


def _short(text: Any) -> str:
    words = " ".join(str(text or "no message").split())
    return words if len(words) <= _MESSAGE_CHARACTERS else words[: _MESSAGE_CHARACTERS - 3] + "..."


def _last_lines(text: Any) -> str:
    """The end of a log: where the error is."""
    words = " ".join(str(text or "").split())
    return words if len(words) <= _MESSAGE_CHARACTERS else "..." + words[-(_MESSAGE_CHARACTERS - 3) :]


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
