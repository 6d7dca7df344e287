"""Which image is which command, and what a process node refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fastgen.errors import UsageError
from fastgen_devcluster.errors import DevClusterError
from fastgen_devcluster.node.config import NodeConfig, NodeSettings, parse_host_paths, parse_pairs
from fastgen_devcluster.node.host_paths import UnknownHostPathError, local_path
from fastgen_devcluster.node.images import ImageNotFoundError, ImageTable, repository_of
from fastgen_devcluster.node.unsupported import refusals, refused_changes


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("fastgen/serving", "fastgen/serving"),
        ("fastgen/serving:0.1", "fastgen/serving"),
        ("docker.io/fastgen/serving:0.1@sha256:abc", "fastgen/serving"),
        ("localhost:5000/fastgen/serving", "fastgen/serving"),
        ("localhost/fastgen/serving", "fastgen/serving"),
        ("ghcr.io/a/b/c:1", "a/b/c"),
        ("nginx:1", "nginx"),
        ("docker.io/library/nginx", "nginx"),
    ],
)
def test_an_image_is_known_by_its_repository(reference: str, expected: str) -> None:
    assert repository_of(reference) == expected


def test_the_table_may_grow_and_says_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "images.json"
    path.write_text(json.dumps({"ghcr.io/a/b": ["run"]}))
    table = ImageTable(path)
    assert table.find("a/b:1").entry_point == ("run",)
    with pytest.raises(ImageNotFoundError, match=r"no command stands for c/d here; .*images.json has a/b"):
        table.find("c/d")
    path.write_text(json.dumps({"c/d": ["x", "y"]}))
    assert table.find("c/d").image_id.startswith("c/d@sha256:")
    path.write_text('{"c/d": "x"}')
    with pytest.raises(DevClusterError, match="expected"):
        table.find("c/d")


def pod(container: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "c", "image": "i", **(container or {})}], **spec}}


def mounted(path: str, **container: Any) -> dict[str, Any]:
    return {"volumeMounts": [{"name": "v", "mountPath": path}], **container}


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (pod(hostNetwork=True), "spec.hostNetwork"),
        (pod(runtimeClassName="gvisor"), "no container runtime"),
        (pod(volumes=[{"name": "v", "image": {"reference": "x"}}]), "cannot mount image"),
        (pod(volumes=[{"name": "v", "csi": {"driver": "x"}}]), "cannot mount csi"),
        (pod({"securityContext": {"privileged": True}}), "nobody privileges"),
        (pod({"ports": [{"containerPort": 1, "hostPort": 2}]}), "hostPort 2"),
        (pod({"workingDir": "/app"}), "workingDir /app"),
        (pod(mounted("/etc/app")), "is named nowhere"),
        (pod(mounted("/etc/app", args=["/etc/application"])), "is named nowhere"),
        (pod({"volumeMounts": [{"name": "v", "mountPath": "/a", "subPathExpr": "x"}], "args": ["/a"]}), "subPathExpr"),
        (pod({"volumeMounts": [{"mountPath": "/a"}, {"mountPath": "/a/b"}], "args": ["/a", "/a/b"]}), "inside another"),
    ],
)
def test_what_cannot_run_here_is_refused_with_the_reason(refused: dict[str, Any], words: str) -> None:
    assert any(words in reason for reason in refusals(refused))


@pytest.mark.parametrize(
    "fine",
    [
        pod(),
        pod(mounted("/tmp")),
        pod(mounted("/dev/shm")),
        pod(mounted("/var/run/secrets/kubernetes.io/serviceaccount")),
        pod(mounted("/data", args=["--file=/data/x"])),
        pod(mounted("/data", env=[{"name": "A", "value": "/data"}])),
        pod(mounted("/data", workingDir="/data/work")),
        pod(mounted("/data", envFrom=[{"configMapRef": {"name": "x"}}])),  # it may be named in there
        pod(volumes=[{"name": "v", "emptyDir": {}}]),
    ],
)
def test_what_can_run_is_not(fine: dict[str, Any]) -> None:
    assert refusals(fine) == []


def test_changes_that_have_no_effect_are_named() -> None:
    before = pod({"resources": {"limits": {"cpu": "1"}}})
    assert refused_changes(before, before) == []
    assert len(refused_changes(before, pod({"image": "j", "resources": {"limits": {"cpu": "2"}}}))) == 2
    after = {"spec": {**before["spec"], "ephemeralContainers": [{"name": "debug"}]}}
    assert "ephemeral" in refused_changes(before, after)[0]


def test_a_host_path_is_a_folder_that_was_given_for_it() -> None:
    folders = {"/var/lib": Path("/a"), "/var/lib/models": Path("/b")}
    assert local_path("/var/lib/models/x", folders) == Path("/b/x")
    assert local_path("/var/lib/modelsx", folders) == Path("/a/modelsx")
    for path in ("/etc", "/var/lib/../../etc"):
        with pytest.raises(UnknownHostPathError):
            local_path(path, folders)


def test_wrong_settings_say_what_to_write(tmp_path: Path) -> None:
    given: dict[str, Any] = {"kubeconfig": "k", "nodes": "a, b", "folder": "f", "images": "i"}
    assert NodeSettings(config=NodeConfig(**given)).node_names == ("a", "b")
    with pytest.raises(UsageError, match="name at least one"):
        NodeSettings(config=NodeConfig(**{**given, "nodes": ","}))
    with pytest.raises(UsageError, match="--cpus: 'many'"):
        NodeSettings(config=NodeConfig(**given, cpus="many"))
    with pytest.raises(UsageError, match="there is no folder"):
        NodeSettings(config=NodeConfig(**given), host_paths=parse_host_paths([f"/x={tmp_path}/none"]))
    with pytest.raises(UsageError, match="expected NAME=VALUE"):
        parse_pairs("--env", ["X"])
