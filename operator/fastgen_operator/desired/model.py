"""How the weights get to a replica: what to mount, and what to tell the engine.

scheme     the replica sees
---------  -----------------------------------------------------------------------------
hf://      nothing mounted: the engine fetches into its cache, a volume if spec.model.cache
pvc://     the claim, read-only
oci://     the image as a volume, read-only (Kubernetes 1.35 or newer)
file:///   the node's folder, read-only
s3://      refused, with what to do instead
"""

from __future__ import annotations

from typing import NamedTuple

from fastgen.contract import FastGenDeployment, labels
from fastgen.contract.command_line import own_model_argument
from fastgen.errors import UsageError
from fastgen_operator.desired.common import CannotRunError, KubeObject, metadata
from fastgen_operator.desired.merging import without_empty

MODEL_FOLDER = "/var/lib/fastgen/model"
CACHE_FOLDER = "/var/lib/fastgen/cache"
MODEL_VOLUME = "model"
CACHE_VOLUME = "model-cache"


class ModelMount(NamedTuple):
    """What a replica's pod needs for its model."""

    argument: str | None
    """What replaces the source on the engine's command line; None where the engine fetches by itself."""
    volumes: tuple[KubeObject, ...]
    mounts: tuple[KubeObject, ...]
    env: tuple[KubeObject, ...]


def mount(deployment: FastGenDeployment) -> ModelMount:
    """Volumes, mounts and environment for the model and its cache. Raises CannotRunError with what to do instead."""
    argument, volume = _weights(deployment)
    spec = deployment.spec.model
    cache: KubeObject = {"name": CACHE_VOLUME, "emptyDir": {}}
    if spec.cache is not None:
        claim = labels.model_cache_name(deployment.name)
        cache = {"name": CACHE_VOLUME, "persistentVolumeClaim": {"claimName": claim}}
    mounts: list[KubeObject] = [{"name": CACHE_VOLUME, "mountPath": CACHE_FOLDER}]
    if volume is not None:
        mounts.append({"name": MODEL_VOLUME, "mountPath": MODEL_FOLDER, "readOnly": True})
    env: list[KubeObject] = [
        {"name": "HF_HOME", "value": f"{CACHE_FOLDER}/huggingface"},
        {"name": "FASTGEN_CACHE", "value": f"{CACHE_FOLDER}/fastgen"},
        {"name": "TRITON_CACHE_DIR", "value": f"{CACHE_FOLDER}/triton"},
    ]
    if (token := spec.token_secret_ref) is not None:
        reference = {"secretKeyRef": {"name": token.name, "key": token.key}}
        env.append({"name": "HF_TOKEN", "valueFrom": reference})
    return ModelMount(argument, (cache,) if volume is None else (cache, volume), tuple(mounts), tuple(env))


def _weights(deployment: FastGenDeployment) -> tuple[str | None, KubeObject | None]:
    """The engine's argument and the volume for one source."""
    source = deployment.spec.model.parsed_source
    match source.scheme:
        case "hf":
            return None, None
        case "pvc":
            claim, _, folder = source.rest.partition("/")
            volume = {"persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
            return f"{MODEL_FOLDER}/{folder}".rstrip("/"), {"name": MODEL_VOLUME, **volume}
        case "oci":
            volume = {"image": {"reference": source.rest, "pullPolicy": "IfNotPresent"}}
            return MODEL_FOLDER, {"name": MODEL_VOLUME, **volume}
        case "file":
            try:
                path = own_model_argument(deployment)
            except UsageError as error:
                raise CannotRunError("ModelSourceUnsupported", str(error)) from None
            return MODEL_FOLDER, {"name": MODEL_VOLUME, "hostPath": {"path": path, "type": "Directory"}}
        case "s3":
            raise CannotRunError(
                "ModelSourceUnsupported",
                f"spec.model.source: this version does not fetch {deployment.spec.model.source}; make the bucket a "
                "volume (Mountpoint for Amazon S3, or another CSI driver) and write pvc://CLAIM/FOLDER, or push the "
                "folder as an image and write oci://",
            )


def cache_claim(deployment: FastGenDeployment) -> list[KubeObject]:
    """The claim on the volume that keeps downloaded weights."""
    cache = deployment.spec.model.cache
    if cache is None:
        return []
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": metadata(deployment, labels.COMPONENT_REPLICA, labels.model_cache_name(deployment.name)),
            "spec": without_empty(
                {
                    "accessModes": [cache.access_mode],
                    "storageClassName": cache.storage_class_name,
                    "resources": {"requests": {"storage": str(cache.size)}},
                }
            ),
        }
    ]
