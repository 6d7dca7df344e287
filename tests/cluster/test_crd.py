"""What a real API server makes of the CustomResourceDefinition: it takes it, teaches by it, and judges manifests as
`fastgen up` does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster_namespace import Namespace, until
from hypothesis import HealthCheck, event, given, settings
from kubernetes import client
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient
from pydantic import ValidationError
from random_specs import specs

from fastgen.contract import FastGenDeploymentSpec, labels
from fastgen_devcluster.cluster import DevCluster
from fastgen_devcluster.errors import DevClusterError

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator")]
ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
CRD_FILE = ROOT / "crds" / "fastgendeployments.yaml"
CRD = yaml.safe_load(CRD_FILE.read_text(encoding="utf-8"))
SPEC_SCHEMA = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
CRD_NAME = f"{labels.PLURAL}.{labels.GROUP}"
COLUMNS = ["NAME", "READY", "REPLICAS", "DESIRED", "EFFECTIVE", "AGE"]
Json = dict[str, Any]


def deployment(spec: Json) -> Json:
    return {"apiVersion": labels.API_VERSION, "kind": labels.KIND, "metadata": {"name": "a"}, "spec": spec}


@pytest.fixture(scope="module")
def objects(api: DynamicClient) -> client.CustomObjectsApi:
    return client.CustomObjectsApi(api.client)


# -- the definition itself ------------------------------------------------------------------------------------------


def test_it_is_established_and_its_schema_is_structural(cluster: DevCluster) -> None:
    live = json.loads(cluster.kubectl("get", "crd", CRD_NAME, "-o", "json"))
    conditions = {condition["type"]: condition for condition in live["status"]["conditions"]}
    assert conditions["Established"]["status"] == "True"
    assert conditions["NamesAccepted"]["status"] == "True"
    assert "NonStructuralSchema" not in conditions
    assert live["status"]["acceptedNames"]["shortNames"] == ["fgd"]


def test_the_api_server_has_nothing_to_warn_of(cluster: DevCluster) -> None:
    words = ["replace", "--dry-run=server", "--validate=strict", "--warnings-as-errors", "-f", str(CRD_FILE)]
    assert "replaced (server dry run)" in cluster.kubectl(*words)


def documents(schema: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    """Every field that `kubectl explain` can be asked for."""
    for name, inner in schema.get("properties", {}).items():
        yield f"{path}.{name}", inner
        yield from documents(inner, f"{path}.{name}")
    if "properties" in schema.get("items", {}):
        yield from documents(schema["items"], path)


def test_explain_teaches_every_field(cluster: DevCluster) -> None:
    """From the document that kubectl explain reads, rather than by asking it a hundred times."""
    published = json.loads(cluster.kubectl("get", "--raw", f"/openapi/v3/apis/{labels.API_VERSION}"))
    schema = published["components"]["schemas"]["dev.fastgen.v1alpha1.FastGenDeployment"]
    fields = {path: inner for part in ("spec", "status") for path, inner in documents(schema["properties"][part])}
    assert len(fields) > 100
    assert [path for path, inner in fields.items() if len(inner.get("description", "")) < 10] == []


def test_explain_knows_the_short_name(cluster: DevCluster) -> None:
    def explained() -> str:
        cluster.kubectl("api-resources")  # or kubectl goes by what it remembers of the time before
        return cluster.kubectl("explain", "fgd.spec.engine.tokenBudget", check=False)

    assert "Dynamic SplitFuse" in until(explained, "kubectl knows fgd", 20)


# -- what people type -----------------------------------------------------------------------------------------------


def test_get_shows_the_columns_that_were_promised(namespace: Namespace) -> None:
    namespace.apply(deployment({"model": {"source": "hf://a/b"}, "suspend": True}))
    assert namespace.kubectl("get", "fgd").split("\n")[0].split() == COLUMNS
    assert namespace.kubectl("get", "fgd", "-o", "wide").split("\n")[0].split() == [
        *COLUMNS,
        "REASON",
        "MODEL",
        "ADDRESS",
    ]
    assert f"{labels.SINGULAR}.{labels.GROUP}/a" in namespace.kubectl("get", "all")


def test_scale_writes_replicas_and_keeps_their_bounds(namespace: Namespace) -> None:
    namespace.apply(deployment({"model": {"source": "hf://a/b"}, "suspend": True}))
    namespace.kubectl("scale", "fgd/a", "--replicas=3")
    assert namespace.get(labels.KIND, "a")["spec"]["replicas"] == 3
    with pytest.raises(DevClusterError, match="should be less than or equal to 1000"):
        namespace.kubectl("scale", "fgd/a", "--replicas=1001")
    assert namespace.get(labels.KIND, "a")["spec"]["replicas"] == 3


# -- manifests ------------------------------------------------------------------------------------------------------

MANIFESTS = [path for path in sorted(EXAMPLES.glob("*.yaml")) if f"kind: {labels.KIND}" in path.read_text()]
WRONG = sorted(EXAMPLES.glob("invalid/*.yaml"))


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_every_example_is_accepted(cluster: DevCluster, path: Path) -> None:
    assert "(server dry run)" in cluster.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", str(path))


@pytest.mark.parametrize("path", WRONG, ids=lambda path: path.name)
def test_every_wrong_example_is_refused_as_its_second_line_promises(cluster: DevCluster, path: Path) -> None:
    promised = path.read_text().splitlines()[1].removeprefix("# kubectl says: ")
    with pytest.raises(DevClusterError, match=re.escape(promised)):
        cluster.kubectl("apply", "--dry-run=server", "-f", str(path))


def judged_by_the_server(objects: client.CustomObjectsApi, spec: Json) -> Json | str:
    """The spec with the server's defaults, or why it was refused."""
    try:
        made = objects.create_namespaced_custom_object(
            labels.GROUP, labels.VERSION, "default", labels.PLURAL, deployment(spec),
            dry_run="All", field_validation="Strict",
        )  # fmt: skip
    except ApiException as error:
        if error.status not in (400, 422):
            raise
        return str(json.loads(error.body)["message"])
    found: Json = made["spec"]
    return found


def judged_by_the_types(spec: Json) -> Json | str:
    """As `judged_by_the_server`, in Python."""
    try:
        return FastGenDeploymentSpec.model_validate(spec).model_dump(mode="json", by_alias=True)
    except ValidationError as error:
        return str(error)


def without_empty(value: Any) -> Any:
    """Without what says nothing: an API server keeps no nulls, and an empty list is a missing one."""
    if isinstance(value, list):
        return [without_empty(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    kept = {key: without_empty(inner) for key, inner in value.items()}
    return {key: inner for key, inner in kept.items() if inner not in (None, {}, [])}


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(spec=specs(SPEC_SCHEMA))
def test_a_manifest_is_judged_and_filled_in_alike_by_the_api_server_and_by_the_types(
    objects: client.CustomObjectsApi, spec: Json
) -> None:
    theirs, ours = judged_by_the_server(objects, spec), judged_by_the_types(spec)
    event("refused" if isinstance(ours, str) else "accepted")
    if isinstance(theirs, str) or isinstance(ours, str):
        assert isinstance(theirs, str) and isinstance(ours, str), f"the server: {theirs}\nthe types: {ours}"  # noqa: PT018
        return
    assert without_empty(theirs) == without_empty(ours)
