"""The command lines that a manifest becomes are ones that the commands take."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from fastgen.config import EngineConfig
from fastgen.contract import parse_manifest
from fastgen.contract.command_line import (
    Listen,
    balance_arguments,
    engine_arguments,
    own_model_argument,
    serve_arguments,
)
from fastgen.contract.engine_spec import EngineSpec
from fastgen.contract.manifest import FastGenDeployment
from fastgen.errors import UsageError
from fastgen.options import from_namespace
from fastgen_server.balancer.config import BalancerConfig
from fastgen_server.commands.balance import command as balance
from fastgen_server.commands.serve import command as serve
from fastgen_server.settings import ServerConfig


def deployment(source: str = "hf://org/model", **spec: Any) -> FastGenDeployment:
    model = {"source": source, **spec.pop("model", {})}
    return parse_manifest(
        {
            "apiVersion": "fastgen.dev/v1alpha1",
            "kind": "FastGenDeployment",
            "metadata": {"name": "llama"},
            "spec": {"model": model, **spec},
        }
    )


def parse(command: Any, words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    command.add_arguments(parser)
    assert words[0] == command.name
    return parser.parse_args(words[1:])


def test_a_replica_runs_what_the_manifest_says() -> None:
    engine = {
        "device": "cpu", "dtype": "float32", "maxModelTokens": 2048, "tokenBudget": 256, "maxSequences": 8,
        "maxQueuedRequests": 9, "composition": "whole-prompt", "queuePolicy": "priority", "blockTokens": 32,
        "kvBytes": "1Gi", "memoryFraction": "0.5", "prefixCache": False, "attention": "cpu", "linear": "plain",
    }  # fmt: skip
    manifest = deployment(model={"revision": "v1"}, engine=engine, sla={"generationTokensPerSecond": 6})
    args = parse(serve, serve_arguments(manifest, listen=Listen("127.0.0.1", 0, 0, "/tmp/a.json")))
    assert from_namespace(EngineConfig, args) == EngineConfig(
        model="org/model", revision="v1", device="cpu", dtype="float32", max_model_tokens=2048, token_budget=256,
        max_sequences=8, max_queued_requests=9, composition="whole-prompt", queue_policy="priority", block_tokens=32,
        kv_bytes=2**30, memory_fraction=0.5, prefix_cache=False, attention="cpu", linear="plain",
        promise_tokens_per_second=6.0,
    )  # fmt: skip
    server = from_namespace(ServerConfig, args)
    assert (server.host, server.port, server.grpc_port, server.model_name) == ("127.0.0.1", 0, 0, "llama")
    assert (server.sla.prompt_tokens_per_second, server.sla.generation_tokens_per_second) == (512.0, 6.0)


def test_defaults_of_the_manifest_are_defaults_of_the_engine() -> None:
    args = parse(serve, serve_arguments(deployment()))
    assert from_namespace(EngineConfig, args) == EngineConfig(model="org/model")


def test_every_field_of_the_engine_reaches_the_command_line() -> None:
    changed = {
        "device": "cpu", "dtype": "float16", "max_model_tokens": 9, "token_budget": 9, "max_sequences": 9,
        "max_queued_requests": 9, "composition": "whole-prompt", "queue_policy": "priority", "block_tokens": 256,
        "kv_bytes": 9, "memory_fraction": "0.5", "prefix_cache": False, "attention": "triton", "linear": "plain",
    }  # fmt: skip
    only_one_yet = {"tensor_parallel"}
    assert set(changed) | only_one_yet == set(EngineSpec.model_fields)
    plain = engine_arguments(EngineSpec())
    for name, value in changed.items():
        assert engine_arguments(EngineSpec().model_copy(update={name: value})) != plain, name


def test_what_was_mounted_or_fetched_replaces_the_source() -> None:
    assert serve_arguments(deployment("pvc://claim/folder"), model="/model")[1] == "/model"
    assert "--revision" not in serve_arguments(deployment(model={"revision": "v1"}), model="/model")
    assert own_model_argument(deployment("file:///srv/models/a")) == "/srv/models/a"
    with pytest.raises(UsageError, match="an absolute path"):
        own_model_argument(deployment("file://./models/a"))
    with pytest.raises(UsageError, match="pvc:// has to be mounted"):
        own_model_argument(deployment("pvc://claim/folder"))


def test_a_balancer_finds_replicas_by_file_or_by_pods() -> None:
    manifest = deployment(balancer={"policy": "RoundRobin", "replicas": 3})
    listen = Listen("127.0.0.1", 0, 0)
    by_file = from_namespace(
        BalancerConfig, parse(balance, balance_arguments(manifest, replicas_file="r", listen=listen))
    )
    assert (by_file.policy, by_file.replicas_file, by_file.balancers) == ("RoundRobin", "r", 1)
    words = balance_arguments(manifest, pods_selector="a=b", namespace="models")
    by_pods = from_namespace(BalancerConfig, parse(balance, words))
    assert (by_pods.pods_selector, by_pods.namespace, by_pods.balancers, by_pods.port) == ("a=b", "models", 3, 8080)
