"""What a pod is given and what is reported of it, on a real control plane."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from played_node import Pods, condition, container, is_ready

from fastgen_devcluster.binaries import find
from fastgen_devcluster.cluster import DevCluster
from fastgen_devcluster.errors import DevClusterError
from fastgen_devcluster.node.api import MERGE_PATCH

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

STAY = {"args": ["report"]}


async def test_a_container_gets_the_command_line_and_the_environment_that_a_kubelet_resolves(pods: Pods) -> None:
    await pods.make("configmaps", "settings", data={"colour": "blue", "size": "small"})
    await pods.make("secrets", "login", stringData={"password": "s3cret"})
    env = [
        {"name": "FIRST", "value": "1"},
        {"name": "SECOND", "value": "$(FIRST)2 $$(FIRST) $(UNKNOWN)"},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "CORES", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        {"name": "MIB", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
        {"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "colour"}}},
        {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "login", "key": "password"}}},
        {"name": "NONE", "valueFrom": {"secretKeyRef": {"name": "nobody", "key": "x", "optional": True}}},
    ]
    limits = {"cpu": "1500m", "memory": "64Mi", "nvidia.com/gpu": "1"}
    given = {"envFrom": [{"prefix": "SET_", "configMapRef": {"name": "settings"}}], "env": env}
    await pods.create(
        "given", {"command": ["python", "-u", _program(), "report"], "resources": {"limits": limits}, **given}
    )
    said = (await pods.report("given"))["environment"]
    pod = await pods.until("given", is_ready)
    assert said["SECOND"] == "12 $(FIRST) $(UNKNOWN)"
    assert said["NODE"] == "node-0"
    assert said["IP"] == pod["status"]["podIP"]
    assert said["APP"] == "given"
    assert (said["CORES"], said["MIB"]) == ("2", "64")
    assert (said["COLOUR"], said["SET_size"]) == ("blue", "small")
    assert said["PASSWORD"] == "s3cret"
    assert "NONE" not in said
    assert said["GREETING"] == "hello"
    assert said["HOSTNAME"] == "given"
    assert "PWD" not in said or said["PWD"] != os.getcwd()
    assert "PYTEST_CURRENT_TEST" not in said


def _program() -> str:
    return str(Path(__file__).parents[2] / "support" / "pod_program.py")


async def test_status_is_what_a_kubelet_reports(pods: Pods) -> None:
    await pods.create("reported", STAY)
    pod = await pods.until("reported", is_ready)
    status = pod["status"]
    assert status["phase"] == "Running"
    assert status["podIP"].startswith("127.1.")
    assert status["podIPs"] == [{"ip": status["podIP"]}]
    assert status["hostIP"].startswith("127.1.")
    assert status["qosClass"] == "BestEffort"
    assert status["startTime"]
    for kind in ("PodScheduled", "PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready"):
        assert condition(pod, kind)["status"] == "True", kind
    main = container(pod)
    assert main["ready"]
    assert main["started"]
    assert main["restartCount"] == 0
    assert "startedAt" in main["state"]["running"]
    assert main["imageID"].startswith("test/program@sha256:")
    assert [len(await pods.events("reported", reason)) for reason in ("Pulled", "Created", "Started")] == [1, 1, 1]


async def test_volumes_are_folders_whose_paths_stand_where_the_mounts_stood(pods: Pods) -> None:
    await pods.make("configmaps", "files", data={"one": "1", "two": "2"})
    await pods.make("secrets", "keys", stringData={"key": "k"})
    (pods.node.models / "weights").mkdir(exist_ok=True)
    (pods.node.models / "weights" / "w.bin").write_text("weights")
    about = [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]
    token = {"serviceAccountToken": {"path": "token", "audience": "somebody", "expirationSeconds": 900}}
    volumes: dict[str, dict[str, Any]] = {
        "c": {"configMap": {"name": "files", "items": [{"key": "two", "path": "deep/two"}]}},
        "s": {"secret": {"secretName": "keys"}},
        "a": {"downwardAPI": {"items": about}},
        "p": {"projected": {"sources": [token, {"configMap": {"name": "files"}}]}},
        "h": {"hostPath": {"path": "/var/lib/models/weights", "type": "Directory"}},
        "e": {"emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
    }
    files = ["/c/deep/two", "/s/key", "/a/labels", "/p/token", "/p/one", "/h/w.bin"]
    mounts = [{"name": name, "mountPath": f"/{name}"} for name in volumes]
    await pods.create(
        "mounted",
        {"args": ["report", *files], "env": [{"name": "SCRATCH", "value": "--to=/e/x"}], "volumeMounts": mounts},
        volumes=[{"name": name, **source} for name, source in volumes.items()],
    )
    said = await pods.report("mounted")
    pod = await pods.until("mounted", is_ready)
    contents = {
        file.partition(f"{pod['metadata']['uid'][:8]}/")[2] or Path(file).name: text
        for file, text in said["files"].items()
    }
    shown = {file: text for file, text in contents.items() if not file.endswith("token")}
    assert shown == {
        "c/deep/two": "2",
        "s/key": "k",
        "a/labels": 'app="mounted"',
        "p/one": "1",
        "w.bin": "weights",
    }
    claims = json.loads(base64.urlsafe_b64decode(contents["p/token"].split(".")[1] + "=="))
    assert claims["aud"] == ["somebody"]
    assert claims["kubernetes.io"]["pod"]["name"] == "mounted"
    assert Path(said["environment"]["SCRATCH"].removeprefix("--to=")).parent.is_dir()
    changed = {"data": {"one": "another"}}
    await pods.api.request("PATCH", pods.path("files", "configmaps"), changed, content_type=MERGE_PATCH)
    file = next(Path(file) for file in said["files"] if file.endswith("/p/one"))
    await pods.until("mounted", lambda _: file.read_text() == "another")


async def test_the_service_account_is_a_kubeconfig(pods: Pods, control_plane: DevCluster) -> None:
    await pods.create("account", STAY)
    environment = (await pods.report("account"))["environment"]
    assert "KUBERNETES_SERVICE_HOST" not in environment
    kubectl = str(find(["kubectl"])["kubectl"])
    command = [kubectl, "auth", "whoami", "--output=jsonpath={.status.userInfo.username}"]
    said = await asyncio.to_thread(subprocess.run, command, env=environment, capture_output=True, text=True, check=True)
    assert said.stdout == f"system:serviceaccount:{pods.namespace}:default"
    await pods.create("none", STAY, automountServiceAccountToken=False)
    assert "KUBECONFIG" not in (await pods.report("none"))["environment"]


async def test_kubectl_shows_what_containers_write(pods: Pods, control_plane: DevCluster) -> None:
    await pods.create("talking", {"args": ["exit", "0", "one\ntwo"]}, restartPolicy="Never")
    await pods.create("staying", STAY)
    await pods.until("talking", lambda pod: pod["status"].get("phase") == "Succeeded")
    await pods.report("staying")

    async def logs(*arguments: str) -> str:
        return await asyncio.to_thread(control_plane.kubectl, "logs", "--namespace", pods.namespace, *arguments)

    assert await logs("talking", "--follow") == "one\ntwo\n"
    assert await logs("talking", "--tail=1") == "two\n"
    assert await logs("staying") == pods.log("staying").read_text()
    with pytest.raises(DevClusterError, match="previous terminated container"):
        await logs("staying", "--previous")


async def test_probes_gate_readiness_and_restart_what_is_unwell(pods: Pods) -> None:
    sick = pods.node.folder / "sick"
    probe = {"httpGet": {"path": "/", "port": "web"}, "periodSeconds": 1}
    server = {
        "args": ["serve", "0.0.0.0:8000", str(sick)],
        "ports": [{"name": "web", "containerPort": 8000}],
        "startupProbe": {"tcpSocket": {"port": "web"}, "periodSeconds": 1, "failureThreshold": 30},
        "readinessProbe": {**probe, "failureThreshold": 1},
        "livenessProbe": {**probe, "failureThreshold": 3},
    }
    await pods.create("probed", server)
    await pods.create(
        "asked", {**STAY, "readinessProbe": {"exec": {"command": ["sh", "-c", f"test -e {sick}"]}, "periodSeconds": 1}}
    )
    await pods.until("probed", is_ready)
    pod = await pods.until("asked", lambda pod: container(pod).get("started"))
    assert condition(pod, "Ready")["reason"] == "ContainersNotReady"
    sick.touch()
    pod = await pods.until("probed", lambda pod: not is_ready(pod))
    assert pod["status"]["phase"] == "Running"
    await pods.until("asked", is_ready)
    pod = await pods.until("probed", lambda pod: container(pod).get("restartCount") == 1)
    assert container(pod)["lastState"]["terminated"]["exitCode"] == 143
    assert any("failed liveness probe" in event["message"] for event in await pods.events("probed", "Killing"))
    sick.unlink()
    await pods.until("probed", is_ready)


async def test_init_containers_come_one_after_the_other_and_sidecars_stay_until_all_others_ended(pods: Pods) -> None:
    volume = {"name": "d", "emptyDir": {}}

    def one(name: str, *words: str, **more: Any) -> dict[str, Any]:
        mounts = [{"name": "d", "mountPath": "/d"}]
        return {
            "name": name,
            "image": "test/program",
            "args": ["say", "/d/said", *words],
            "volumeMounts": mounts,
            **more,
        }

    ready = {"exec": {"command": ["grep", "beside", "/d/said"]}, "periodSeconds": 1}
    init = [one("first", "first"), one("beside", "beside", "beside ends", restartPolicy="Always", startupProbe=ready)]
    await pods.create(
        "ordered",
        [one("main", "main")],
        initContainers=[*init, one("last", "last")],
        volumes=[volume],
        restartPolicy="Never",
    )
    pod = await pods.until("ordered", lambda pod: pod["status"].get("phase") == "Succeeded")
    said = next((pods.node.node_folder / "volumes").glob(f"{pod['metadata']['uid'][:8]}/d/said")).read_text()
    assert said.split("\n") == ["first", "beside", "last", "main", "beside ends", ""]
    assert container(pod, "beside")["state"]["terminated"]["exitCode"] == 0
    assert condition(pod, "Ready")["reason"] == "PodCompleted"


async def test_an_idle_node_costs_next_to_nothing(pods: Pods) -> None:
    for index in range(3):
        await pods.create(f"idle-{index}", STAY)
    for index in range(3):
        await pods.until(f"idle-{index}", is_ready)
    await pods.until("idle-0", lambda _: True)
    before, began = pods.node.cpu_seconds(), time.monotonic()
    await asyncio.sleep(5)  # nothing happens: that is what is measured
    share = (pods.node.cpu_seconds() - before) / (time.monotonic() - began)
    assert share < 0.02
