"""What a manifest may say, and how a wrong one is answered."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from fastgen.contract import FastGenDeployment, ManifestError, load_manifest, parse_manifest
from fastgen.contract.base import ManifestObject
from fastgen.contract.quantities import parse_quantity
from fastgen.errors import UsageError

EXAMPLES = Path(__file__).parents[3] / "examples"

WHOLE = """
apiVersion: fastgen.dev/v1alpha1
kind: FastGenDeployment
metadata: {name: llama, namespace: models, labels: {team: search}}
spec:
  model:
    source: "hf://meta-llama/Llama-2-7b-chat-hf"
    revision: main
    tokenSecretRef: {name: hf}
    cache: {size: 50Gi, storageClassName: fast}
  engine:
    tensorParallel: 1
    device: cuda
    dtype: bfloat16
    maxModelTokens: 4096
    tokenBudget: 512
    maxSequences: 64
    maxQueuedRequests: 100
    composition: splitfuse
    queuePolicy: priority
    blockTokens: 256
    kvBytes: 4Gi
    memoryFraction: "0.8"
    prefixCache: false
    attention: flash_attn
    linear: plain
  sla: {promptTokensPerSecond: 512, generationTokensPerSecond: 4, target: "0.99"}
  replicas: 1
  autoscaling:
    minReplicas: 0
    maxReplicas: 8
    prometheus: {url: "http://prometheus.monitoring:9090"}
    behavior:
      scaleUp: {stabilizationWindowSeconds: 0, policies: [{type: Percent, value: 100, periodSeconds: 15}]}
      scaleDown: {selectPolicy: Min, policies: [{type: Pods, value: 1, periodSeconds: 60}]}
    mode: Advisory
  balancer: {replicas: 2, policy: RoundRobin, service: {type: ClusterIP, port: 80, grpcPort: 81, annotations: {a: b}}}
  tenants: {secretRef: {name: llama-tenants}}
  resources: {limits: {nvidia.com/gpu: 1, memory: 16Gi}, requests: {cpu: 500m}}
  podTemplate:
    image: example.org/fastgen:1
    nodeSelector: {gpu: "yes"}
    tolerations: [{key: nvidia.com/gpu, operator: Exists}]
    terminationGracePeriodSeconds: 120
  suspend: false
"""


def whole() -> dict[str, Any]:
    manifest: dict[str, Any] = yaml.safe_load(WHOLE)
    return manifest


def test_every_field_of_the_plan_is_understood() -> None:
    spec = load_manifest(WHOLE).spec
    assert spec.model.parsed_source == ("hf", "meta-llama/Llama-2-7b-chat-hf")
    assert (spec.engine.token_budget, spec.engine.kv_bytes, spec.sla.target) == (512, "4Gi", "0.99")
    assert spec.autoscaling is not None
    assert spec.autoscaling.behavior.scale_down.policies[0].period_seconds == 60
    assert spec.pod_template.tolerations == [{"key": "nvidia.com/gpu", "operator": "Exists"}]
    assert spec.resources.limits == {"nvidia.com/gpu": 1, "memory": "16Gi"}


def test_writing_a_manifest_out_and_reading_it_again_changes_nothing() -> None:
    deployment = load_manifest(WHOLE)
    assert load_manifest(yaml.safe_dump(deployment.to_manifest())) == deployment


def test_the_shortest_manifest_gets_the_defaults() -> None:
    text = "{apiVersion: fastgen.dev/v1alpha1, kind: FastGenDeployment, metadata: {name: a}, "
    spec = load_manifest(text + "spec: {model: {source: 'file:///models/a'}, engine: null, sla:}}").spec
    assert (spec.replicas, spec.engine.token_budget, spec.engine.queue_policy) == (1, "auto", "fcfs")
    assert (spec.sla.prompt_tokens_per_second, spec.sla.generation_tokens_per_second) == (512, 4)
    assert (spec.balancer.replicas, spec.balancer.policy, spec.autoscaling) == (2, "LeastWork", None)


def _set(path: str, value: Any) -> dict[str, Any]:
    manifest = copy.deepcopy(whole())
    *steps, last = path.split(".")
    place: Any = manifest
    for step in steps:
        place = place[int(step)] if step.isdigit() else place[step]
    place[last] = value
    return manifest


WRONG: list[tuple[str, Any, str]] = [
    ("spec.engine.tokenBudget", 0, 'given 0; allowed: "auto" or an integer of at least 1'),
    ("spec.engine.tokenBudget", True, "given true;"),
    ("spec.engine.dtype", "fp16", 'given "fp16"; allowed: auto, float32, bfloat16, float16'),
    ("spec.engine.tensorParallel", 2, "given 2; allowed: at most 1"),
    ("spec.engine.maxModelTokens", 1, "allowed: at least 2"),
    ("spec.engine.blockTokens", 16, "given 16; allowed: a multiple of 256"),
    ("spec.engine.kvBytes", "4 GB", "allowed: a quantity"),
    ("spec.engine.kvBytes", "500m", "a whole number of bytes"),
    ("spec.engine.memoryFraction", "0.01", "allowed: a decimal from 0.05 to 1"),
    ("spec.engine.prefixCache", "no", "allowed: true or false"),
    ("spec.engine", [1], "given a list; allowed: fields"),
    ("spec.sla.target", "1.5", "allowed: a decimal from 0 to 1"),
    ("spec.sla.generationTokensPerSecond", 2.5, "given 2.5; allowed: an integer"),
    ("spec.model.source", "ftp://x/y", "allowed: one of the forms hf://"),
    ("spec.model.source", "hf://a/b/c", "allowed: the form hf://ORGANISATION/MODEL"),
    ("spec.model.source", "s3://Bucket/x", "allowed: the form s3://BUCKET/PREFIX"),
    ("spec.model.source", "s3://bucket/../x", "without '..'"),
    ("spec.model.tokenSecretRef", "hf", "allowed: fields"),
    ("spec.replicas", -1, "allowed: at least 0"),
    ("spec.autoscaling.mode", "Off", "allowed: Active, Advisory"),
    ("spec.autoscaling.prometheus.url", "prometheus:9090", "allowed: text of the form ^https?://"),
    ("spec.autoscaling.behavior.scaleUp.policies.0.type", "Nodes", "allowed: Pods, Percent"),
    ("spec.balancer.policy", "Fastest", "allowed: LeastWork, RoundRobin"),
    ("spec.balancer.service.grpcPort", 80, "allowed: another port than port"),
    ("spec.resources.limits", {"memory": "lots"}, 'given "lots"; allowed: a quantity'),
    ("spec.resources.limits", {"memory": "٣Gi"}, "allowed: a quantity"),
    ("spec.resources.limits", {"memory": "3Gi\n"}, "allowed: a quantity"),
    ("metadata.name", "Llama_2", "allowed: lower-case letters"),
    ("metadata.name", "a" * 41, "allowed: at most 40 characters"),
    ("apiVersion", "fastgen.dev/v1", "allowed: fastgen.dev/v1alpha1"),
]


@pytest.mark.parametrize(("path", "value", "words"), WRONG, ids=[f"{path}={value}" for path, value, _ in WRONG])
def test_a_wrong_value_is_answered_with_its_path_and_what_is_allowed(path: str, value: Any, words: str) -> None:
    with pytest.raises(ManifestError) as caught:
        parse_manifest(_set(path, value))
    assert len(caught.value.problems) == 1
    shown = re.sub(r"\.(\d+)", r"[\1]", path)
    assert caught.value.problems[0].path.startswith(shown)
    assert words in caught.value.problems[0].message


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("spec.engine.token_budget", "tokenBudget"),
        ("spec.engine.tokenBudgt", "tokenBudget"),
        ("spec.autoscaling.behavior.scaleDwn", "scaleDown"),
        ("spec.replica", "replicas"),
        ("spec.balancer.service.prot", "port"),
    ],
)
def test_an_unknown_field_is_answered_with_the_nearest(path: str, nearest: str) -> None:
    with pytest.raises(ManifestError, match=f"unknown field; did you mean '{nearest}'"):
        parse_manifest(_set(path, 1))


def test_an_unknown_field_like_nothing_gets_the_list() -> None:
    with pytest.raises(ManifestError, match="unknown field; known here: generationTokensPerSecond, prompt"):
        parse_manifest(_set("spec.sla.zzz", 1))


def test_everything_wrong_is_told_at_once_with_its_line() -> None:
    text = WHOLE.replace("tokenBudget: 512", "tokenBudget: lots").replace("minReplicas: 0", "minReplica: 0")
    text = text.replace("name: llama,", "name: Llama,").replace("policy: RoundRobin", "policy: Random")
    with pytest.raises(ManifestError) as caught:
        load_manifest(text)
    assert [(problem.path, problem.line) for problem in caught.value.problems] == [
        ("metadata.name", 4),
        ("spec.engine.tokenBudget", 16),
        ("spec.autoscaling.minReplica", 30),
        ("spec.balancer.policy", 37),
    ]
    assert "spec.engine.tokenBudget (line 16)" in str(caught.value)


def _laughs() -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (_laughs(), "more than 20000 values once its aliases are expanded"),
        ("a: &a [*a]", "nested deeper than 50"),
        ("[" * 5000, "nested deeper than 50"),
        ("[" * 60 + "]" * 60, "nested deeper than 50"),
        ("a: " + "x" * 300_000, "larger than 256 KiB"),
        ("a: 1\nb: 2\na: 3", "line 3: 'a' is here a second time"),
        ("a: [1", "is not YAML, line 1"),
        ("a: !!python/object/apply:os.system [ls]", "is not YAML"),
        ("a: 2024-13-45", "write it in quotes"),
        ("a: \x00", "is not YAML"),
        ("", "is empty"),
        ("# only a comment", "is empty"),
        ("- a\n- b", "holds a list"),
        ("just words", 'holds "just words"'),
        ("? [a]\n: b", "a key must be a word"),
    ],
)
def test_yaml_that_is_no_manifest_or_an_attack(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=re.escape(words)):
        load_manifest(text)


def test_other_objects_in_the_file_are_passed_over() -> None:
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: hf}\n---"
    assert load_manifest(secret + WHOLE).name == "llama"
    with pytest.raises(UsageError, match=r"holds 2 FastGenDeployments \(llama, llama\)"):
        load_manifest(WHOLE + "---" + WHOLE)
    with pytest.raises(UsageError, match="no FastGenDeployment among them"):
        load_manifest(secret + "\n{kind: ConfigMap}")


def test_a_live_object_as_the_api_server_hands_it_out_is_understood() -> None:
    manifest = whole()
    manifest["metadata"] |= {"uid": "1", "resourceVersion": "7", "managedFields": [{}], "creationTimestamp": None}
    manifest["status"] = {"replicas": 1, "conditions": []}
    assert parse_manifest(manifest).spec == load_manifest(WHOLE).spec


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no file"):
        load_manifest(tmp_path / "nothing.yaml")
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        load_manifest(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"a: \xff\xfe")
    with pytest.raises(UsageError, match="not UTF-8"):
        load_manifest(tmp_path / "binary.yaml")
    (tmp_path / "huge.yaml").write_text("ü" * 300_000)
    with pytest.raises(UsageError, match="larger than 256 KiB"):
        load_manifest(tmp_path / "huge.yaml")


MANIFESTS = [path for path in sorted(EXAMPLES.glob("*.yaml")) if "kind: FastGenDeployment" in path.read_text()]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_the_examples_are_right(path: Path) -> None:
    assert load_manifest(path).spec.replicas >= 1


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("invalid/*.yaml")), ids=lambda path: path.name)
def test_the_wrong_examples_are_refused_as_their_first_line_promises(path: Path) -> None:
    """Their second line is what an API server says: tests/cluster/test_crd.py."""
    first, second = path.read_text().splitlines()[:2]
    promised = first.removeprefix("# fastgen up says: ")
    assert promised != first
    assert second.startswith("# kubectl says: ")
    with pytest.raises(ManifestError) as caught:
        load_manifest(path)
    assert promised in str(caught.value)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1),
        (7, 7),
        ("500m", 0.5),
        ("1.5Gi", 1.5 * 2**30),
        ("2k", 2000),
        ("1e3", 1000),
        ("1E", 10**18),
        (".5Ki", 512),
    ],
)
def test_quantities_mean_what_kubernetes_means(text: str | int, number: float) -> None:
    assert parse_quantity(text) == pytest.approx(number)


def _objects() -> list[type[ManifestObject]]:
    found: list[type[ManifestObject]] = []

    def walk(kind: type[ManifestObject]) -> None:
        found.append(kind)
        for inner in kind.__subclasses__():
            walk(inner)

    walk(ManifestObject)
    return [kind for kind in found if kind is not ManifestObject]


@pytest.mark.parametrize("kind", _objects(), ids=lambda kind: kind.__name__)
def test_every_field_is_described_and_every_rule_can_become_cel(kind: type[BaseModel]) -> None:
    assert issubclass(kind, ManifestObject)
    for name, field in kind.model_fields.items():
        assert field.description, f"{kind.__name__}.{name} has no description"
    names = {field.alias for field in kind.model_fields.values()}
    for rule in kind.RULES:
        assert rule.field in names
        assert set(re.findall(r"self\.(\w+)", rule.cel)) <= names


def test_the_contract_needs_no_torch() -> None:
    code = "import sys, fastgen.contract.command_line, fastgen.contract.metrics; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_the_schema_says_what_the_types_say() -> None:
    schema = FastGenDeployment.model_json_schema()
    engine = schema["$defs"]["EngineSpec"]
    assert engine["additionalProperties"] is False
    assert engine["properties"]["tokenBudget"]["x-kubernetes-int-or-string"] is True
    assert engine["properties"]["queuePolicy"]["enum"] == ["fcfs", "priority"]
