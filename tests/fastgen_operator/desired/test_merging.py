"""A person's additions to a pod."""

from __future__ import annotations

from live_objects import live, replica_pods

from fastgen_operator.desired.merging import appended, merged, merged_by


def test_fields_within_fields_are_merged() -> None:
    ours = {"a": 1, "b": {"c": 2, "d": 3}}
    assert merged(ours, {"b": {"d": 4, "e": 5}, "f": 6}) == {"a": 1, "b": {"c": 2, "d": 4, "e": 5}, "f": 6}
    assert ours == {"a": 1, "b": {"c": 2, "d": 3}}


def test_lists_are_merged_by_name_and_entries_without_one_are_left_to_the_api_server() -> None:
    ours = [{"name": "a", "emptyDir": {}}, {"name": "b", "value": 1}]
    theirs = [{"name": "a", "hostPath": {}}, {"name": "c"}, {"nom": "d"}]
    assert merged_by("name", ours, theirs) == [
        {"name": "a", "hostPath": {}},
        {"name": "b", "value": 1},
        {"name": "c"},
        {"nom": "d"},
    ]


def test_lists_without_names_grow() -> None:
    assert appended([{"a": 1}], [{"a": 1}, {"b": 2}]) == [{"a": 1}, {"b": 2}]


def test_every_addition_of_the_pod_template_reaches_the_pod() -> None:
    template = {
        "image": "example.org/own:1",
        "imagePullPolicy": "Always",
        "imagePullSecrets": [{"name": "registry"}],
        "labels": {"team": "a"},
        "annotations": {"note": "b", "prometheus.io/scrape": "false"},
        "nodeSelector": {"gpu": "yes"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "topologySpreadConstraints": [{"maxSkew": 1}],
        "priorityClassName": "high",
        "runtimeClassName": "nvidia",
        "serviceAccountName": "own",
        "securityContext": {"fsGroup": 5, "seccompProfile": {"type": "Localhost", "localhostProfile": "p"}},
        "env": [{"name": "HF_HOME", "value": "/own"}, {"name": "MORE", "value": "1"}],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}, {"name": "own", "emptyDir": {}}],
        "volumeMounts": [{"name": "own", "mountPath": "/own"}],
        "terminationGracePeriodSeconds": 90,
    }
    found = replica_pods(live(podTemplate=template))
    metadata, spec, engine = found["metadata"], found["spec"], found["spec"]["containers"][0]
    assert metadata["labels"]["team"] == "a"
    assert (metadata["annotations"]["note"], metadata["annotations"]["prometheus.io/scrape"]) == ("b", "false")
    assert (engine["image"], engine["imagePullPolicy"]) == ("example.org/own:1", "Always")
    same = ("imagePullSecrets", "nodeSelector", "tolerations", "affinity", "topologySpreadConstraints")
    same += ("priorityClassName", "runtimeClassName", "serviceAccountName", "terminationGracePeriodSeconds")
    assert {name: spec[name] for name in same} == {name: template[name] for name in same}
    assert spec["automountServiceAccountToken"] is True
    assert spec["securityContext"]["fsGroup"] == 5
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "Localhost", "localhostProfile": "p"}
    env = {entry["name"]: entry["value"] for entry in engine["env"] if "value" in entry}
    assert (env["HF_HOME"], env["MORE"]) == ("/own", "1")
    assert "FASTGEN_CACHE" in env
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    assert volumes["tmp"]["emptyDir"] == {"sizeLimit": "1Gi"}
    assert {"own", "model-cache"} <= set(volumes)
    assert {mount["mountPath"] for mount in engine["volumeMounts"]} >= {"/own", "/tmp", "/dev/shm"}
