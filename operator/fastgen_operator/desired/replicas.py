"""The Deployment of the replicas: one engine with its server in each pod."""

from __future__ import annotations

from fastgen.contract import FastGenDeployment, labels, ports
from fastgen.contract.command_line import serve_arguments
from fastgen_operator.desired import common, grace
from fastgen_operator.desired.common import KubeObject, Observed
from fastgen_operator.desired.merging import appended, merged, merged_by, without_empty
from fastgen_operator.desired.model import ModelMount

CONTAINER = "engine"
GPU = "nvidia.com/gpu"
STARTUP_SECONDS = 3600
"""How long fetching, loading and measuring may take before a replica is started anew."""
STARTUP_PERIOD_SECONDS = 2
SHARED_MEMORY = "1Gi"


def replicas(deployment: FastGenDeployment, model: ModelMount, observed: Observed) -> KubeObject:
    """The Deployment. A rollout adds one replica before it takes one away, so what serves goes on serving."""
    spec = deployment.spec
    name = labels.replica_name(deployment.name)
    return common.with_hash(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": common.metadata(deployment, labels.COMPONENT_REPLICA, name),
            "spec": {
                "replicas": 0 if spec.suspend else spec.replicas,
                "selector": {"matchLabels": labels.selector_labels(deployment.name, labels.COMPONENT_REPLICA)},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
                "progressDeadlineSeconds": STARTUP_SECONDS,
                "revisionHistoryLimit": 2,
                "template": _pod_template(deployment, model, observed),
            },
        }
    )


def _pod_template(deployment: FastGenDeployment, model: ModelMount, observed: Observed) -> KubeObject:
    theirs = deployment.spec.pod_template
    ours = labels.object_labels(deployment.name, labels.COMPONENT_REPLICA)
    volumes = [
        {"name": "tmp", "emptyDir": {}},
        {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": SHARED_MEMORY}},
        *model.volumes,
    ]
    return {
        "metadata": {
            "labels": {**theirs.labels, **ours},
            "annotations": {**common.scrape_annotations(ports.REPLICA_HTTP), **theirs.annotations},
        },
        "spec": without_empty(
            {
                "containers": [_container(deployment, model, observed)],
                "volumes": merged_by("name", volumes, theirs.volumes),
                "securityContext": merged(common.pod_security(), theirs.security_context or {}),
                "terminationGracePeriodSeconds": theirs.termination_grace_period_seconds,
                "serviceAccountName": theirs.service_account_name,
                "automountServiceAccountToken": theirs.service_account_name is not None,
                "enableServiceLinks": False,
                "imagePullSecrets": [{"name": secret.name} for secret in theirs.image_pull_secrets],
                "nodeSelector": theirs.node_selector,
                "tolerations": appended([], theirs.tolerations),
                "affinity": theirs.affinity,
                "topologySpreadConstraints": theirs.topology_spread_constraints,
                "priorityClassName": theirs.priority_class_name,
                "runtimeClassName": theirs.runtime_class_name,
            }
        ),
    }


def _container(deployment: FastGenDeployment, model: ModelMount, observed: Observed) -> KubeObject:
    theirs = deployment.spec.pod_template
    time = grace.divide(theirs.termination_grace_period_seconds)
    arguments = serve_arguments(deployment, model=model.argument, grace_seconds=time.finish_seconds)
    mounts = [
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own
        {"name": "shared-memory", "mountPath": "/dev/shm"},  # noqa: S108 - the pod's own
        *model.mounts,
    ]
    resources = _resources(deployment)
    return without_empty(
        {
            "name": CONTAINER,
            "image": theirs.image or observed.images.serving,
            "imagePullPolicy": theirs.image_pull_policy,
            "args": [*arguments, "--no-load-progress"],
            "ports": [
                {"name": ports.NAME_HTTP, "containerPort": ports.REPLICA_HTTP},
                {"name": ports.NAME_GRPC, "containerPort": ports.REPLICA_GRPC},
            ],
            "env": merged_by("name", [*model.env, *_threads(resources)], theirs.env),
            "volumeMounts": merged_by("mountPath", mounts, theirs.volume_mounts),
            "resources": resources,
            "securityContext": common.container_security(),
            # A replica that is still loading does not listen yet; one that listens is ready or restarts its engine.
            "startupProbe": common.http_probe(
                "/healthz",
                ports.NAME_HTTP,
                period_seconds=STARTUP_PERIOD_SECONDS,
                failures=STARTUP_SECONDS // STARTUP_PERIOD_SECONDS,
            ),
            "readinessProbe": common.http_probe("/readyz", ports.NAME_HTTP, period_seconds=2, failures=2),
            "livenessProbe": common.http_probe("/healthz", ports.NAME_HTTP, period_seconds=10, failures=6),
            "terminationMessagePolicy": "FallbackToLogsOnError",
            **grace.pre_stop(time),
        }
    )


def _resources(deployment: FastGenDeployment) -> KubeObject:
    """As written; `device: cuda` without a GPU among the limits gets the GPUs one replica spans."""
    engine, asked = deployment.spec.engine, deployment.spec.resources
    limits = {name: _text(amount) for name, amount in asked.limits.items()}
    if engine.device == "cuda" and not any(name.endswith("/gpu") or name.startswith("nvidia.com/") for name in limits):
        limits[GPU] = str(engine.tensor_parallel)
    requests = {name: _text(amount) for name, amount in asked.requests.items()}
    return without_empty({"limits": limits, "requests": requests})


def _threads(resources: KubeObject) -> list[KubeObject]:
    """As many threads as cores: within a limit, a process still sees all of its node's."""
    if "cpu" not in resources.get("limits", {}):
        return []
    reference = {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1"}}
    return [{"name": "OMP_NUM_THREADS", "valueFrom": reference}]


def _text(amount: str | int) -> str:
    return str(amount)
