"""How the weights get to a replica."""

from __future__ import annotations

from typing import Any

import pytest
from live_objects import OBSERVED, child, live, replica_pods

from fastgen_operator.desired import CannotRunError, desired


def pod(source: str, **model: Any) -> tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The engine's model argument, volumes by name, mounts by path, environment by name."""
    spec = replica_pods(live(source, model=model))["spec"]
    engine = spec["containers"][0]
    return (
        engine["args"][1],
        {volume["name"]: volume for volume in spec["volumes"]},
        {mount["mountPath"]: mount for mount in engine["volumeMounts"]},
        {entry["name"]: entry for entry in engine["env"]},
    )


def test_the_hub_is_asked_by_the_engine_itself() -> None:
    argument, volumes, _, env = pod("hf://org/model")
    assert argument == "org/model"
    assert volumes["model-cache"] == {"name": "model-cache", "emptyDir": {}}
    assert "HF_TOKEN" not in env


def test_a_token_never_stands_on_a_command_line() -> None:
    *_, env = pod("hf://org/model", tokenSecretRef={"name": "hf"})
    assert env["HF_TOKEN"]["valueFrom"] == {"secretKeyRef": {"name": "hf", "key": "token"}}
    assert "value" not in env["HF_TOKEN"]


def test_a_cache_is_a_claim_that_all_replicas_share() -> None:
    cache = {"size": "50Gi", "storageClassName": "fast", "accessMode": "ReadWriteOnce"}
    _, volumes, mounts, env = pod("hf://org/model", cache=cache)
    assert volumes["model-cache"]["persistentVolumeClaim"] == {"claimName": "llama-model-cache"}
    assert env["HF_HOME"]["value"].startswith("/var/lib/fastgen/cache/")
    assert "/var/lib/fastgen/cache" in mounts
    claim = child(live(model={"cache": cache}), "PersistentVolumeClaim")
    assert claim["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "fast",
        "resources": {"requests": {"storage": "50Gi"}},
    }


@pytest.mark.parametrize(
    ("source", "argument", "volume"),
    [
        ("pvc://weights", "", {"persistentVolumeClaim": {"claimName": "weights", "readOnly": True}}),
        ("pvc://weights/a/b", "/a/b", {"persistentVolumeClaim": {"claimName": "weights", "readOnly": True}}),
        ("oci://ghcr.io/a/b:1", "", {"image": {"reference": "ghcr.io/a/b:1", "pullPolicy": "IfNotPresent"}}),
        ("file:///srv/llama", "", {"hostPath": {"path": "/srv/llama", "type": "Directory"}}),
    ],
)
def test_what_is_mounted_is_read_only_and_told_to_the_engine(
    source: str, argument: str, volume: dict[str, Any]
) -> None:
    given, volumes, mounts, _ = pod(source)
    assert given == "/var/lib/fastgen/model" + argument
    assert volumes["model"] == {"name": "model", **volume}
    assert mounts["/var/lib/fastgen/model"]["readOnly"] is True


@pytest.mark.parametrize(
    ("source", "words"),
    [("s3://bucket/model", r"write pvc://CLAIM/FOLDER"), ("file://./models/a", "an absolute path")],
)
def test_what_cannot_be_fetched_is_refused_with_what_to_do(source: str, words: str) -> None:
    with pytest.raises(CannotRunError, match=words) as caught:
        desired(live(source), OBSERVED)
    assert caught.value.reason == "ModelSourceUnsupported"
