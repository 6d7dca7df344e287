"""What a process node cannot run, found before it begins. Silence would be a lie: the pod fails, an event says why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fastgen_devcluster.node.api import KubeObject
from fastgen_devcluster.node.substitutions import WITHOUT_MENTION, mention_of

VOLUME_KINDS = ("configMap", "secret", "emptyDir", "projected", "downwardAPI", "hostPath", "persistentVolumeClaim")
HOST_FLAGS = ("hostNetwork", "hostPID", "hostIPC")


def refusals(pod: KubeObject) -> list[str]:
    """Every reason why this pod cannot run here, each a sentence for a person; empty where it can."""
    return [*_of_pod(pod["spec"]), *(text for one in _containers(pod["spec"]) for text in _of_container(one))]


def refused_changes(before: KubeObject, after: KubeObject) -> list[str]:
    """What was changed about a running pod and has no effect here."""
    reasons = []
    if after["spec"].get("ephemeralContainers") != before["spec"].get("ephemeralContainers"):
        reasons.append(
            "ephemeral containers: a pod's processes are this machine's, where any debugger can look at them"
        )
    for was, now in zip(_containers(before["spec"]), _containers(after["spec"]), strict=True):
        for field in ("image", "resources"):
            if was.get(field) != now.get(field):
                reasons.append(
                    f"container {now['name']}: its {field} changed, which this node does only with a new pod"
                )
    return reasons


def _containers(spec: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*spec.get("initContainers", ()), *spec["containers"]]


def _of_pod(spec: Mapping[str, Any]) -> Iterator[str]:
    for flag in HOST_FLAGS:
        if spec.get(flag):
            yield f"spec.{flag}: a process node's pods are processes of this machine and have no other host to share"
    if spec.get("os", {}).get("name", "linux") != "linux":
        yield f"spec.os {spec['os']['name']}: this node runs Linux"
    if spec.get("runtimeClassName"):
        yield f"spec.runtimeClassName {spec['runtimeClassName']}: this node has no container runtime"
    for volume in spec.get("volumes", ()):
        kind = next((name for name in volume if name != "name"), "emptyDir")
        if kind not in VOLUME_KINDS:
            yield f"volume {volume['name']}: this node cannot mount {kind}; it can {', '.join(VOLUME_KINDS)}"


def _of_container(container: Mapping[str, Any]) -> Iterator[str]:
    name = container["name"]
    if container.get("securityContext", {}).get("privileged"):
        yield f"container {name}: a process node gives nobody privileges"
    if container.get("volumeDevices"):
        yield f"container {name}: volumeDevices need a container runtime"
    if container.get("restartPolicyRules"):
        yield f"container {name}: restartPolicyRules are unknown to this node"
    if container.get("stdin") or container.get("tty"):
        yield f"container {name}: nobody can attach to a process here, so stdin and tty have no meaning"
    for port in container.get("ports", ()):
        if port.get("hostPort"):
            yield f"container {name}: hostPort {port['hostPort']}: a pod has only its own address here"
    mounts = container.get("volumeMounts", ())
    paths = [mount["mountPath"].rstrip("/") for mount in mounts]
    directory = container.get("workingDir")
    if directory and not any(mention_of(path).match(directory) for path in paths):
        yield f"container {name}: workingDir {directory} is in no mounted volume, and there is no image to have it"
    text = list(_texts(container))
    is_all_known = not container.get("envFrom") and not any("valueFrom" in one for one in container.get("env", ()))
    for mount, path in zip(mounts, paths, strict=True):
        if mount.get("subPathExpr"):
            yield f"container {name}: mount {path}: subPathExpr is unknown to this node; subPath works"
        if any(other != path and path.startswith(f"{other}/") for other in paths):
            yield f"container {name}: mount {path} is inside another mount, and folders cannot be put into each other"
        if is_all_known and path not in WITHOUT_MENTION and not any(mention_of(path).search(one) for one in text):
            yield (
                f"container {name}: mount {path} is named nowhere in command, args or env; without mounts this node "
                "can only replace the path where it is written, so a program that just knows it would not find it"
            )


def _texts(container: Mapping[str, Any]) -> Iterator[str]:
    """Where mount paths are replaced."""
    yield from container.get("command", ())
    yield from container.get("args", ())
    yield from (entry["value"] for entry in container.get("env", ()) if entry.get("value"))
    yield container.get("workingDir", "")
