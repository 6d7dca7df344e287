"""How containers and pods end, and what starts again, on a real control plane."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean

import pytest
from played_node import PlayedNode, Pods, condition, container, is_alive, is_ready

from fastgen_devcluster.cluster import DevCluster
from fastgen_devcluster.node.api import KubeObject

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

STAY = {"args": ["report"]}


async def test_what_keeps_ending_waits_longer_each_time_and_says_so_in_one_event(pods: Pods) -> None:
    crashing = {"args": ["exit", "3", "last words"], "terminationMessagePolicy": "FallbackToLogsOnError"}
    await pods.create("crashing", crashing)
    pod = await pods.until("crashing", lambda pod: container(pod).get("restartCount") == 3, timeout_seconds=25)
    pod = await pods.until("crashing", lambda pod: "waiting" in container(pod)["state"])
    main = container(pod)
    assert main["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert main["lastState"]["terminated"]["exitCode"] == 3
    assert main["lastState"]["terminated"]["message"] == "last words\n"
    assert pod["status"]["phase"] == "Running"
    assert not is_ready(pod)
    assert re.search(r"back-off [48]s", main["state"]["waiting"]["message"])
    assert len(await pods.events("crashing", "BackOff")) == 1
    logs = sorted(log.name for log in pods.log("crashing").parent.glob("*.log"))
    assert logs == ["2.log", "3.log"]


async def test_a_container_over_its_memory_limit_is_killed_for_it(pods: Pods) -> None:
    hungry = {"args": ["allocate", "200"], "resources": {"limits": {"memory": "100Mi"}}}
    await pods.create("hungry", hungry, restartPolicy="Never")
    pod = await pods.until("hungry", lambda pod: pod["status"].get("phase") == "Failed")
    ended = container(pod)["state"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)
    await pods.create("modest", {**hungry, "args": ["allocate", "30"]})
    await pods.until("modest", is_ready)
    await asyncio.sleep(2)
    await pods.until("modest", lambda pod: is_ready(pod) and container(pod)["restartCount"] == 0, timeout_seconds=1)


async def test_a_container_gets_no_more_cpu_than_its_limit(pods: Pods) -> None:
    await pods.create("busy", {"args": ["burn"], "resources": {"limits": {"cpu": "200m"}}})
    log = pods.log("busy")
    await pods.until("busy", lambda _: log.exists() and len(log.read_text().split()) >= 5)
    assert mean(float(share) for share in log.read_text().split()[1:]) < 0.3


async def test_a_pod_ends_by_its_hook_then_sigterm_then_sigkill(pods: Pods, tmp_path: Path) -> None:
    said, pids = tmp_path / "said", tmp_path / "pids"
    hook = {"preStop": {"exec": {"command": ["sh", "-c", f"echo hook >> {said}"]}}}
    await pods.create("polite", {"args": ["say", str(said), "begun", "sigterm"], "lifecycle": hook})
    await pods.create("stubborn", {"args": ["stubborn", str(pids)]}, terminationGracePeriodSeconds=3)
    await pods.until("polite", lambda pod: is_ready(pod) and said.exists())
    await pods.until("stubborn", lambda _: pids.exists())
    main, child = map(int, pids.read_text().split())
    began = time.monotonic()
    await pods.delete("polite")
    await pods.delete("stubborn")
    await pods.until_gone("polite")
    assert said.read_text().split() == ["begun", "hook", "sigterm"]
    await pods.until_gone("stubborn")
    assert 2.5 < time.monotonic() - began < 6
    assert not is_alive(main)
    assert not is_alive(child), "a child in a session of its own outlived its container"
    assert not pods.log("stubborn").exists()
    ended = pods.node.node_folder / "ended"
    assert list(ended.glob(f"{pods.namespace}_polite_*/main/0.log")), "the log is gone with the pod"


async def test_a_shorter_grace_period_cuts_a_longer_one_short(pods: Pods, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    await pods.create("stubborn", {"args": ["stubborn", str(pids)]}, terminationGracePeriodSeconds=600)
    await pods.until("stubborn", lambda _: pids.exists())
    main, child = map(int, pids.read_text().split())
    await pods.delete("stubborn")
    await pods.until("stubborn", lambda pod: pod["metadata"]["deletionGracePeriodSeconds"] == 600)
    await pods.delete("stubborn", grace_seconds=0)
    await pods.until_gone("stubborn", timeout_seconds=2)
    deadline = time.monotonic() + 5
    while is_alive(main) or is_alive(child):
        assert time.monotonic() < deadline, "processes outlived a pod that was deleted by force"
        await asyncio.sleep(0.05)


async def test_what_cannot_run_here_is_an_event_and_a_failed_pod(pods: Pods) -> None:
    elsewhere = {"name": "v", "hostPath": {"path": "/etc/ssl"}}
    image = {"name": "v", "image": {"reference": "some/image"}}
    mount = {"name": "v", "mountPath": "/v"}
    await pods.create("elsewhere", {"args": ["report", "/v/x"], "volumeMounts": [mount]}, volumes=[elsewhere])
    await pods.create("image", {"args": ["report", "/v/x"], "volumeMounts": [mount]}, volumes=[image])
    for name, words in (("elsewhere", "hostPath /etc/ssl"), ("image", "cannot mount image")):
        pod = await pods.until(name, lambda pod: pod["status"].get("phase") == "Failed", timeout_seconds=20)
        assert pod["status"]["reason"] == "UnsupportedByProcessNode"
        assert words in pod["status"]["message"]
        (event,) = await pods.events(name, "UnsupportedByProcessNode")
        assert event["type"] == "Warning"


async def test_what_is_missing_is_waited_for(pods: Pods) -> None:
    folder = {"name": "m", "hostPath": {"path": "/var/lib/models/later", "type": "Directory"}}
    await pods.create("image", {"image": "nobody/has:this"})
    env = [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "later", "key": "x"}}}]
    await pods.create("config", {**STAY, "env": env})
    mount = {"name": "m", "mountPath": "/m"}
    await pods.create("folder", {"args": ["report", "/m/file"], "volumeMounts": [mount]}, volumes=[folder])
    for name, reason in (("image", "ImagePullBackOff"), ("config", "CreateContainerConfigError")):
        pod = await pods.until(name, waits_for(reason))
        assert pod["status"]["phase"] == "Pending"
    (event,) = await pods.events("folder", "FailedMount")
    assert "is not a Directory" in event["message"]
    await pods.make("configmaps", "later", data={"x": "1"})
    (pods.node.models / "later").mkdir()
    (pods.node.models / "later" / "file").write_text("here")
    await pods.until("config", is_ready, timeout_seconds=20)
    await pods.until("folder", is_ready)
    await pods.delete("image")
    await pods.until_gone("image", timeout_seconds=5)


async def test_a_claim_is_the_folder_of_its_volume_and_outlives_the_pod(pods: Pods) -> None:
    name = f"pv-{pods.namespace}"
    path = {"path": f"/var/lib/devcluster/volumes/{name}", "type": "DirectoryOrCreate"}
    size, mode = {"storage": "1Gi"}, ["ReadWriteOnce"]
    claim = {"name": "kept", "namespace": pods.namespace}
    volume = {"capacity": size, "accessModes": mode, "hostPath": path, "claimRef": claim, "storageClassName": ""}
    await pods.api.request("POST", "/api/v1/persistentvolumes", {"metadata": {"name": name}, "spec": volume})
    spec = {"accessModes": mode, "resources": {"requests": size}, "storageClassName": "", "volumeName": name}
    await pods.make("persistentvolumeclaims", "kept", spec=spec)
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "kept"}}]
    mounts = [{"name": "v", "mountPath": "/v"}]
    for run in ("once", "again"):
        words = {"args": ["say", "/v/said", run], "volumeMounts": mounts}
        await pods.create(run, words, volumes=volumes, restartPolicy="Never")
        await pods.until(run, lambda pod: pod["status"].get("phase") == "Succeeded")
    said = pods.node.node_folder / "persistent" / name / "said"
    assert said.read_text().split() == ["once", "again"]


async def test_a_killed_node_starts_its_pods_again_and_leaves_no_process(
    pods: Pods, node: PlayedNode, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    await pods.create("again", {"args": ["stubborn", str(pids)]})
    await pods.create("once", {"args": ["say", str(tmp_path / "said"), "once"]}, restartPolicy="Never")
    await pods.create("lost", STAY, restartPolicy="Never")
    await pods.until("again", lambda _: pids.exists())
    await pods.until("once", lambda pod: pod["status"].get("phase") == "Succeeded")
    await pods.until("lost", is_ready)
    before = list(map(int, pids.read_text().split()))
    pids.unlink()
    node.end(signal.SIGKILL)
    node.start()
    pod = await pods.until("again", lambda pod: container(pod)["restartCount"] == 1 and is_ready(pod))
    assert container(pod)["lastState"]["terminated"]["exitCode"] == 255
    assert not any(is_alive(pid) for pid in before)
    pod = await pods.until("lost", lambda pod: pod["status"]["phase"] == "Failed")
    assert (tmp_path / "said").read_text().split() == ["once"]
    await pods.until("again", lambda _: pids.exists())
    after = list(map(int, pids.read_text().split()))
    node.end()
    assert not any(is_alive(pid) for pid in after)
    assert not _groups_of(node)
    node.start()


def waits_for(reason: str) -> Callable[[KubeObject], bool]:
    return lambda pod: bool(container(pod)["state"].get("waiting", {}).get("reason") == reason)


def _groups_of(node: PlayedNode) -> list[Path]:
    return [folder for folder in Path("/sys/fs/cgroup").glob("**/fastgen-devcluster-*") if _is_of(folder, node)]


def _is_of(folder: Path, node: PlayedNode) -> bool:
    assert node.process is not None
    return folder.name.removeprefix("fastgen-devcluster-").startswith(f"{node.process.pid}-")


async def test_an_api_server_that_was_away_finds_what_happened_meanwhile(
    pods: Pods, control_plane: DevCluster, tmp_path: Path
) -> None:
    await pods.create("steady", STAY)
    await pods.create("ending", {"args": ["report"]}, restartPolicy="Never")
    await pods.until("steady", is_ready)
    pid = (await pods.report("ending"))["environment"]
    await pods.until("ending", is_ready)
    process = _process_of(pid["FASTGEN_DEVCLUSTER_CONTAINER"])
    control_plane.stop_component("kube-apiserver")
    os.kill(process, signal.SIGTERM)
    control_plane.start_component("kube-apiserver")
    pod = await pods.until("ending", lambda pod: pod["status"]["phase"] == "Failed")
    assert container(pod)["state"]["terminated"]["exitCode"] == 143
    pod = await pods.until("steady", is_ready)
    assert container(pod)["restartCount"] == 0
    await pods.create("after", STAY)
    await pods.until("after", is_ready)
    await pods.delete("steady")
    await pods.until_gone("steady")
    assert condition(pod, "Ready")["status"] == "True"


def _process_of(mark: str) -> int:
    wanted = f"FASTGEN_DEVCLUSTER_CONTAINER={mark}".encode()
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if wanted in environment.read_bytes().split(b"\0"):
                return int(environment.parent.name)
        except OSError:
            continue
    raise AssertionError(f"no process has {mark}")
