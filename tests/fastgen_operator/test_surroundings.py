"""Options, log lines, the lease's rule, and what is said over HTTP."""

from __future__ import annotations

import json
import logging
import socket
import sys
from datetime import datetime

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from fastgen.errors import UsageError
from fastgen_operator.config import OperatorConfig
from fastgen_operator.http_server import HttpServer, ListenError, State
from fastgen_operator.lease import DURATION_SECONDS, Seen, may_take
from fastgen_operator.logs import JsonFormatter
from fastgen_operator.metrics import OperatorMetrics
from fastgen_server.cli import main


def test_namespaces_are_given_once_for_each() -> None:
    assert OperatorConfig().namespaces == ()
    assert OperatorConfig(namespace="a, b,a,").namespaces == ("a", "b")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"port": 70000}, "port=70000 is no port"),
        ({"resync_seconds": 0.0}, "resync_seconds=0.0 is too small; the least is 1.0"),
        ({"scaling_interval_seconds": 61.0}, "scaling_interval_seconds=61.0 is too long; the most is 60.0"),
        ({"workers": 0}, "workers=0"),
        ({"light_image": ""}, "light_image is empty"),
    ],
)
def test_wrong_options_are_refused_with_what_is_allowed(given: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        OperatorConfig(**given)  # type: ignore[arg-type]


def test_without_a_cluster_the_command_says_what_it_needs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path_factory.mktemp("empty") / "none"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    # The library reads the place of its file once, when it is imported.
    monkeypatch.setattr("kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", "/nowhere")
    assert main(["operator", "--check"]) == 2
    assert "no way to a cluster is known" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spec", "age", "free"),
    [
        ({"holderIdentity": "me", "leaseDurationSeconds": 15}, 0.0, True),
        ({"holderIdentity": "", "leaseDurationSeconds": 1}, 0.0, True),
        ({}, 0.0, True),
        ({"holderIdentity": "another", "leaseDurationSeconds": 15}, 14.9, False),
        ({"holderIdentity": "another", "leaseDurationSeconds": 15}, 15.1, True),
        ({"holderIdentity": "another"}, DURATION_SECONDS - 0.1, False),
        ({"holderIdentity": "another"}, DURATION_SECONDS + 0.1, True),
    ],
)
def test_a_lease_is_taken_where_nobody_renews_it(spec: dict[str, object], age: float, free: bool) -> None:
    assert may_take(Seen(spec, 100.0), "me", 100.0 + age) is free


def test_a_log_line_is_one_object_with_what_it_is_about() -> None:
    try:
        raise KeyError("x")
    except KeyError:
        record = logging.LogRecord("fastgen.operator", logging.WARNING, "f", 1, "line\n%s", ("two",), sys.exc_info())
    record.namespace, record.deployment, record.uid, record.secret = "a", "llama", None, "s"
    line = json.loads(text := JsonFormatter().format(record))
    assert "\n" not in text
    assert (line["level"], line["message"], line["namespace"]) == ("warning", "line\ntwo", "a")
    assert "KeyError" in line["traceback"]
    assert not {"uid", "secret"} & set(line)
    assert datetime.fromisoformat(line["time"]).tzinfo is not None


STATES: tuple[tuple[State, int], ...] = (("starting", 503), ("standby", 200), ("leader", 200), ("stopping", 503))


async def test_a_standby_is_ready_and_one_that_still_reads_is_not() -> None:
    metrics = OperatorMetrics(CollectorRegistry())
    metrics.count_call("apply", "deployments", "200")
    state: State = "starting"
    server = HttpServer(metrics.registry, lambda: state)
    address = await server.start("127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession(f"http://{address}") as session:
            for state, status in STATES:
                async with session.get("/readyz") as response:
                    assert (response.status, (await response.text()).strip()) == (status, state)
            async with session.get("/healthz") as response:
                assert response.status == 200
            async with session.get("/metrics") as response:
                sample = 'fastgen_operator_api_requests_total{code="200",resource="deployments",verb="apply"} 1.0'
                assert sample in await response.text()
    finally:
        await server.stop()


async def test_an_address_that_is_taken_is_an_error_that_says_so() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = HttpServer(CollectorRegistry(), lambda: "standby")
        with pytest.raises(ListenError, match="choose another --port"):
            await server.start("127.0.0.1", taken.getsockname()[1])
        await server.stop()
