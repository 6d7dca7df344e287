"""From a manifest to the processes of one machine. Pure: nothing is started here."""

from __future__ import annotations

import dataclasses
import math
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from fastgen.contract import FastGenDeployment
from fastgen.contract.command_line import Listen, balance_arguments, serve_arguments
from fastgen.errors import UsageError

Role = Literal["replica", "balancer"]
ANY_PORT = 0


class Machine(NamedTuple):
    """What there is to share out."""

    cuda_devices: tuple[str, ...]
    """As CUDA_VISIBLE_DEVICES names them."""
    cpus: int
    threads_chosen: bool = False
    """The user set OMP_NUM_THREADS; then it stays."""


class Placement(NamedTuple):
    """What one replica gets."""

    cuda_devices: tuple[str, ...]
    sharers: int
    """Replicas that live on the same device, or in the same host memory where there is none."""
    threads: int


@dataclass(frozen=True)
class ProcessPlan:
    """One process to keep running."""

    name: str
    role: Role
    arguments: tuple[str, ...]
    """What follows `fastgen`."""
    environment: Mapping[str, str]
    address_file: Path
    program: tuple[str, ...] = (sys.executable, "-m", "fastgen_server")


@dataclass(frozen=True)
class LocalPlan:
    """Everything `fastgen up` runs for one manifest."""

    deployment: FastGenDeployment
    folder: Path
    """State and logs of this deployment."""
    replicas: tuple[ProcessPlan, ...]
    balancer: ProcessPlan
    ignored: tuple[str, ...]
    """Fields that were set and have no meaning on one machine."""

    @property
    def processes(self) -> tuple[ProcessPlan, ...]:
        return (*self.replicas, self.balancer)

    @property
    def replicas_file(self) -> Path:
        return self.folder / "replicas.json"


def this_machine(environment: Mapping[str, str] = os.environ) -> Machine:
    """What this machine has, without importing torch: one device file for each NVIDIA device."""
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        devices = tuple(name.strip() for name in visible.split(",") if name.strip() and name.strip() != "-1")
    else:
        numbers = (path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))
        devices = tuple(sorted((n for n in numbers if n.isdigit()), key=int))
    return Machine(devices, len(os.sched_getaffinity(0)), "OMP_NUM_THREADS" in environment)


def share_out(machine: Machine, replicas: int, *, devices_each: int, use_cuda: bool) -> list[Placement]:
    """Devices in turn, threads in equal parts.

    With fewer devices than replicas ask for, replicas share a device and divide its memory.
    """
    threads = max(1, machine.cpus // max(1, replicas))
    if not use_cuda or not machine.cuda_devices:
        return [Placement((), max(1, replicas), threads) for _ in range(replicas)]
    total = len(machine.cuda_devices)
    if devices_each > total:
        raise UsageError(f"spec.engine.tensorParallel is {devices_each}, and this machine has {total} CUDA devices")
    slots = total // devices_each
    placements = []
    for index in range(replicas):
        first = index % slots * devices_each
        sharers = len(range(index % slots, replicas, slots))
        placements.append(Placement(machine.cuda_devices[first : first + devices_each], sharers, threads))
    return placements


def plan_local(
    deployment: FastGenDeployment,
    *,
    folder: Path,
    manifest_folder: Path,
    machine: Machine,
    replicas: int | None = None,
    listen: Listen,
) -> LocalPlan:
    """What to run.

    Args:
        folder: where state and logs go.
        manifest_folder: what relative file:// sources are relative to.
        replicas: instead of the manifest's.
        listen: where the balancer listens.

    Raises UsageError for what only a cluster can do.
    """
    model = local_model(deployment, manifest_folder)
    count = local_replicas(deployment) if replicas is None else replicas
    engine = deployment.spec.engine
    placements = share_out(machine, count, devices_each=engine.tensor_parallel, use_cuda=engine.device != "cpu")
    return LocalPlan(
        deployment,
        folder,
        tuple(_replica(deployment, model, folder, i, place, machine) for i, place in enumerate(placements)),
        _balancer(deployment, folder, listen),
        meaningless_here(deployment),
    )


def local_model(deployment: FastGenDeployment, manifest_folder: Path) -> str | None:
    """The path of a file:// source; None for hf://, which the engine fetches by itself."""
    source = deployment.spec.model.parsed_source
    if source.scheme == "hf":
        return None
    if source.scheme == "file":
        path = (manifest_folder / source.rest).resolve()
        if not path.is_dir():
            raise UsageError(
                f"spec.model.source: there is no folder {path}; file:// takes an absolute path, or one relative to "
                f"the manifest's folder {manifest_folder}"
            )
        if not (path / "config.json").is_file():
            raise UsageError(
                f"spec.model.source: {path} holds no config.json; name a folder in Hugging Face format, with "
                "config.json, safetensors and a tokenizer"
            )
        return str(path)
    raise UsageError(
        f"spec.model.source: {source.scheme}:// needs a cluster, which mounts or fetches it; on one machine use "
        "file:// with a folder, or hf://"
    )


def local_replicas(deployment: FastGenDeployment) -> int:
    """As many as the manifest says; at least the autoscaler's minimum, since no autoscaler runs here."""
    spec = deployment.spec
    if spec.suspend:
        return 0
    return max(spec.replicas, spec.autoscaling.min_replicas if spec.autoscaling else 0)


def meaningless_here(deployment: FastGenDeployment) -> tuple[str, ...]:
    """Fields that were written and that only a cluster can honour, by their path under spec."""
    written = deployment.spec.to_manifest()
    found = [name for name in ("autoscaling", "tenants", "resources", "podTemplate") if written.get(name)]
    found += [f"model.{name}" for name in ("tokenSecretRef", "cache") if name in written["model"]]
    found += [
        f"balancer.{name}" for name in ("replicas", "service", "resources") if name in written.get("balancer", {})
    ]
    return tuple(found)


def _replica(
    deployment: FastGenDeployment, model: str | None, folder: Path, index: int, place: Placement, machine: Machine
) -> ProcessPlan:
    name = f"replica-{index}"
    address_file = folder / f"{name}.address.json"
    environment = {"CUDA_VISIBLE_DEVICES": ",".join(place.cuda_devices)}
    if not machine.threads_chosen:
        environment["OMP_NUM_THREADS"] = str(place.threads)
    listen = Listen("127.0.0.1", ANY_PORT, ANY_PORT, str(address_file))
    arguments = serve_arguments(_with_share(deployment, place.sharers), model=model, listen=listen)
    return ProcessPlan(name, "replica", (*arguments, "--no-load-progress"), environment, address_file)


def _with_share(deployment: FastGenDeployment, sharers: int) -> FastGenDeployment:
    """The deployment with each replica's part of the memory they share."""
    if sharers == 1:
        return deployment
    share = math.floor(float(deployment.spec.engine.memory_fraction) / sharers * 1000) / 1000
    engine = deployment.spec.engine.model_copy(update={"memory_fraction": f"{max(share, 0.05):g}"})
    spec = deployment.spec.model_copy(update={"engine": engine})
    return deployment.model_copy(update={"spec": spec})


def _balancer(deployment: FastGenDeployment, folder: Path, listen: Listen) -> ProcessPlan:
    address_file = folder / "balancer.address.json"
    listen = listen._replace(address_file=str(address_file))
    arguments = balance_arguments(deployment, replicas_file=str(folder / "replicas.json"), listen=listen)
    return ProcessPlan("balancer", "balancer", tuple(arguments), {"CUDA_VISIBLE_DEVICES": ""}, address_file)


def at_ports(plan: LocalPlan, http_port: int, grpc_port: int) -> LocalPlan:
    """The same plan with the balancer on fixed ports: once it has an address, it keeps it through restarts."""
    arguments = list(plan.balancer.arguments)
    arguments[arguments.index("--port") + 1] = str(http_port)
    arguments[arguments.index("--grpc-port") + 1] = str(grpc_port)
    return dataclasses.replace(plan, balancer=dataclasses.replace(plan.balancer, arguments=tuple(arguments)))
