"""From a manifest to the command lines of its processes. Pure: the operator puts them into pods, `fastgen up`
starts them here, and both run the same engine."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from fastgen.contract import ports
from fastgen.contract.engine_spec import EngineSpec
from fastgen.contract.manifest import FastGenDeployment
from fastgen.contract.quantities import parse_quantity
from fastgen.errors import UsageError


class Listen(NamedTuple):
    """Where a process listens. Port 0 takes any free one, told in `address_file`."""

    host: str
    http_port: int
    grpc_port: int
    address_file: str | None = None

    def arguments(self) -> list[str]:
        found = ["--host", self.host, "--port", str(self.http_port), "--grpc-port", str(self.grpc_port)]
        return found if self.address_file is None else [*found, "--address-file", self.address_file]


REPLICA_IN_POD = Listen("0.0.0.0", ports.REPLICA_HTTP, ports.REPLICA_GRPC)  # noqa: S104 - a pod's own address
BALANCER_IN_POD = Listen("0.0.0.0", ports.BALANCER_HTTP, ports.BALANCER_GRPC)  # noqa: S104 - a pod's own address

WAKE_HOLD_SECONDS = 600
"""How long a balancer holds the request that wakes a sleeping model: a replica has to be scheduled, fetch weights
and load them. It is what the `openai` client waits for."""


def serve_arguments(
    deployment: FastGenDeployment,
    *,
    model: str | None = None,
    listen: Listen = REPLICA_IN_POD,
    grace_seconds: int | None = None,
) -> list[str]:
    """The arguments after `fastgen` that start one replica.

    Args:
        model: where the weights are on the replica's machine, once something fetched or mounted them.
            Without it the engine fetches them itself, which it can for hf:// and file:///.
        listen: addresses.
        grace_seconds: how long running requests may take to finish after SIGTERM; without it, the server's default.

    Raises UsageError where `model` is needed and missing.
    """
    spec = deployment.spec
    arguments = ["serve", model or own_model_argument(deployment), "--model-name", deployment.name]
    if spec.model.revision is not None and model is None:
        arguments += ["--revision", spec.model.revision]
    arguments += engine_arguments(spec.engine)
    arguments += ["--promise-tokens-per-second", str(spec.sla.generation_tokens_per_second)]
    arguments += ["--sla-prompt-tokens-per-second", str(spec.sla.prompt_tokens_per_second)]
    arguments += ["--sla-generation-tokens-per-second", str(spec.sla.generation_tokens_per_second)]
    return [*arguments, *_grace(grace_seconds), *listen.arguments()]


def own_model_argument(deployment: FastGenDeployment) -> str:
    """What the engine can open by itself: a hub id or an absolute path."""
    source = deployment.spec.model.parsed_source
    if source.scheme == "hf" or (source.scheme == "file" and not source.is_relative_file):
        return source.rest
    if source.is_relative_file:
        raise UsageError(
            f"spec.model.source: given {deployment.spec.model.source}; allowed on a cluster: an absolute path "
            "(file:///FOLDER on the node); relative ones are for `fastgen up`"
        )
    raise UsageError(f"spec.model.source: {source.scheme}:// has to be mounted or fetched before the engine starts")


def engine_arguments(engine: EngineSpec) -> list[str]:
    """The flags of `fastgen serve` for everything in `engine`, defaults included: what runs is what is written."""
    values: dict[str, str | None] = {
        "--device": engine.device,
        "--dtype": engine.dtype,
        "--max-model-tokens": _text(engine.max_model_tokens),
        "--token-budget": "none" if engine.token_budget == "auto" else str(engine.token_budget),  # noqa: S105
        "--max-sequences": str(engine.max_sequences),
        "--max-queued-requests": str(engine.max_queued_requests),
        "--composition": engine.composition,
        "--queue-policy": engine.queue_policy,
        "--block-tokens": str(engine.block_tokens),
        "--kv-bytes": None if engine.kv_bytes is None else str(int(parse_quantity(engine.kv_bytes))),
        "--memory-fraction": engine.memory_fraction,
        "--attention": engine.attention,
        "--linear": engine.linear,
    }
    flags = [part for flag, value in values.items() if value is not None for part in (flag, value)]
    return flags if engine.prefix_cache else [*flags, "--no-prefix-cache"]


def balance_arguments(
    deployment: FastGenDeployment,
    *,
    replicas_file: str | None = None,
    pods_selector: str | None = None,
    namespace: str | None = None,
    listen: Listen = BALANCER_IN_POD,
    grace_seconds: int | None = None,
) -> list[str]:
    """The arguments after `fastgen` that start the balancer, which finds replicas in a file or by their pods."""
    arguments: list[str] = ["balance", "--policy", deployment.spec.balancer.policy]
    choices = {"--replicas-file": replicas_file, "--pods-selector": pods_selector, "--namespace": namespace}
    arguments += _given(choices.items())
    if pods_selector is not None:
        arguments += ["--balancers", str(deployment.spec.balancer.replicas)]
        if (autoscaling := deployment.spec.autoscaling) is not None and autoscaling.min_replicas == 0:
            arguments += ["--hold-seconds", str(WAKE_HOLD_SECONDS)]
    return [*arguments, *_grace(grace_seconds), *listen.arguments()]


def _grace(seconds: int | None) -> list[str]:
    return [] if seconds is None else ["--grace-seconds", str(seconds)]


def _given(pairs: Iterable[tuple[str, str | None]]) -> list[str]:
    return [part for flag, value in pairs if value is not None for part in (flag, value)]


def _text(value: int | None) -> str | None:
    return None if value is None else str(value)
