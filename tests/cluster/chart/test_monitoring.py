"""Alerts and dashboards in a real Prometheus: each alert fires for what it is for, and is silent where all is well."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest
import yaml
from chart_tools import CHART, Json
from cluster_namespace import until

from fastgen_devcluster import binaries

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
RULES: Json = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text(encoding="utf-8"))
GROWING = "GROWING"
"""Stands for a counter that grows by 100 a second."""


class Case(NamedTuple):
    """What is published where an alert should fire, and where it should not. `D` is the deployment."""

    bad: tuple[str, ...]
    well: tuple[str, ...]


def scaling(name: str, value: object, more: str = "") -> str:
    return f'fastgen_operator_scaling_{name}{{name="D"{more}}} {value}'


def decisions(reason: str) -> str:
    return scaling("decisions_total", GROWING, f',reason="{reason}"')


UP, DOWN = ',direction="up"', ',direction="down"'
CASES = {
    "FastGenPromisesMissed": Case(
        (scaling("attainment_ratio", 0.9), scaling("target_ratio", 0.95)),
        (scaling("attainment_ratio", 0.97), scaling("target_ratio", 0.95)),
    ),
    "FastGenAtMaximum": Case((decisions("AtMaximum"),), (decisions("WithinBand"),)),
    "FastGenReplicasPending": Case((decisions("PendingTooLong"),), (decisions("DemandAboveCapacity"),)),
    "FastGenAutoscalingBlind": Case((scaling("informed", 0),), (scaling("informed", 1),)),
    "FastGenScalingThrashing": Case(
        (scaling("changes_total", GROWING, UP), scaling("changes_total", GROWING, DOWN)),
        (scaling("changes_total", GROWING, UP), scaling("changes_total", 1, DOWN)),
    ),
    "FastGenRequestsRefused": Case(
        (
            f'fastgen_balancer_requests_total{{protocol="http",code="200"}} {GROWING}',
            f'fastgen_balancer_requests_total{{protocol="http",code="503"}} {GROWING}',
        ),
        (
            f'fastgen_balancer_requests_total{{protocol="http",code="200"}} {GROWING}',
            f'fastgen_balancer_requests_total{{protocol="http",code="429"}} {GROWING}',
        ),
    ),
    "FastGenRequestsHeld": Case(("fastgen_balancer_held_requests 3",), ("fastgen_balancer_held_requests 0",)),
    "FastGenStreamsCut": Case(
        (f'fastgen_balancer_cut_streams_total{{protocol="http"}} {GROWING}',),
        ('fastgen_balancer_cut_streams_total{protocol="http"} 7',),
    ),
    "FastGenEngineDown": Case(("fastgen_engine_up 0",), ("fastgen_engine_up 1",)),
    "FastGenKvCacheFull": Case(
        ("fastgen_kv_cache_usage_perc 0.99", "fastgen_num_requests_waiting 4"),
        ("fastgen_kv_cache_usage_perc 0.99", "fastgen_num_requests_waiting 0"),
    ),
    "FastGenOperatorErrors": Case(
        (f'fastgen_operator_errors_total{{reason="lease"}} {GROWING}',),
        ('fastgen_operator_errors_total{reason="lease"} 3',),
    ),
    "FastGenOperatorDown": Case((), ("fastgen_operator_leader 1",)),
}


class Published(ThreadingHTTPServer):
    """Serves /DEPLOYMENT; what is published can be exchanged."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.began = time.monotonic()
        self.lines: dict[str, tuple[str, ...]] = {}

    def text(self, name: str) -> str:
        grown = 100.0 * (time.monotonic() - self.began)
        lines = "".join(f"{line}\n" for line in self.lines.get(name, ()))
        return lines.replace('"D"', f'"{name}"').replace(GROWING, f"{grown:.0f}")


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Published)
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(self.server.text(self.path.strip("/")).encode())

    def log_message(self, format: str, *args: Any) -> None: ...


def without_patience(rules: Json) -> Json:
    """The same alerts, which fire as soon as what they look for is seen."""
    groups = [
        {**group, "rules": [{key: value for key, value in rule.items() if key != "for"} for rule in group["rules"]]}
        for group in rules["groups"]
    ]
    return {"groups": groups}


@pytest.fixture(scope="module")
def published() -> Iterator[Published]:
    """For each alert a deployment in trouble, `bad-ALERT`, and one that is well, `well-ALERT`."""
    server = Published()
    for alert, case in CASES.items():
        server.lines[f"bad-{alert}"], server.lines[f"well-{alert}"] = case
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture(scope="module")
def prometheus(published: Published, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its URL."""
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "alerts.yaml").write_text(yaml.safe_dump(without_patience(RULES)), encoding="utf-8")
    (folder / "config.yaml").write_text(yaml.safe_dump(configuration(published)), encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    command = [str(binaries.find(["prometheus"])["prometheus"]), f"--config.file={folder / 'config.yaml'}"]
    command += [f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={url.removeprefix('http://')}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        until(lambda: process.poll() is not None or answers(url), "Prometheus answers", 60)
        assert process.poll() is None, (folder / "log").read_text(encoding="utf-8")[-2000:]
        yield url
    finally:
        process.terminate()
        process.wait(30)


def configuration(published: Published) -> Json:
    targets = [
        {
            "targets": [f"127.0.0.1:{published.server_port}"],
            "labels": {
                "__metrics_path__": f"/{name}",
                "namespace": "models",
                "pod": f"{name}-0",
                "instance": name,
                **({} if "perator" in name else {"fastgen_dev_deployment": name}),
            },
        }
        for name in published.lines
    ]
    return {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["alerts.yaml"],
        "scrape_configs": [{"job_name": "fastgen", "static_configs": targets}],
    }


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/-/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError):
        return False


def firing(url: str) -> dict[str, list[Json]]:
    """Alerts that fire, by name."""
    with urllib.request.urlopen(f"{url}/api/v1/alerts", timeout=10) as answer:
        alerts = json.load(answer)["data"]["alerts"]
    found: dict[str, list[Json]] = {}
    for alert in alerts:
        found.setdefault(alert["labels"]["alertname"], []).append(alert)
    return found


def whom(alert: Json) -> str:
    """The deployment it is about."""
    text = json.dumps(alert["labels"])
    (found,) = {name for name in CASES if f"-{name}" in text} or {"nobody"}
    return ("bad" if f"bad-{found}" in text else "well") + f"-{found}"


def test_every_alert_has_a_case_here() -> None:
    assert {rule["alert"] for group in RULES["groups"] for rule in group["rules"]} == set(CASES)


def test_prometheus_takes_every_rule(prometheus: str) -> None:
    def rules() -> list[Json]:
        with urllib.request.urlopen(f"{prometheus}/api/v1/rules", timeout=10) as answer:
            groups = json.load(answer)["data"]["groups"]
        found = [rule for group in groups for rule in group["rules"]]
        return found if all(rule["health"] != "unknown" for rule in found) else []

    assert [rule for rule in until(rules, "all rules were evaluated", 30) if rule["health"] != "ok"] == []


def test_alerts_fire_for_those_in_trouble_and_for_nobody_else(prometheus: str) -> None:
    expected = {alert: [f"bad-{alert}"] for alert in CASES if alert != "FastGenOperatorDown"}
    until(lambda: firing(prometheus).keys() >= expected.keys(), "all alerts fire", 60)
    found = firing(prometheus)
    assert {name: sorted({whom(alert) for alert in alerts}) for name, alerts in found.items()} == expected
    for alerts in found.values():
        for alert in alerts:
            said = alert["annotations"]["summary"] + alert["annotations"]["description"]
            assert "<no value>" not in said
            assert "error" not in alert["annotations"]["summary"].replace("an error of its own", "")
            assert whom(alert) in alert["annotations"]["summary"], "it says whom it is about"


def panel_queries() -> Iterator[tuple[str, str]]:
    chosen = {"$namespace": "models", "$deployment": "bad-FastGenRequestsHeld", "$rate": "4", "$__rate_interval": "5m"}
    for path in sorted((CHART / "files" / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            for target in panel.get("targets", ()):
                query = target["expr"]
                for name, value in chosen.items():
                    query = query.replace(name, value)
                yield f"{path.stem}: {panel['title']}", query


def test_prometheus_understands_every_panel(prometheus: str) -> None:
    asked = list(panel_queries())
    assert asked
    for title, query in asked:
        assert "$" not in query, title
        with urllib.request.urlopen(f"{prometheus}/api/v1/query?{urlencode({'query': query})}", timeout=10) as answer:
            assert json.load(answer)["status"] == "success", title


def test_an_operator_that_nobody_sees_act_is_an_alert(prometheus: str, published: Published) -> None:
    assert "FastGenOperatorDown" not in firing(prometheus)
    published.lines["well-FastGenOperatorDown"] = ("fastgen_operator_leader 0",)
    until(lambda: "FastGenOperatorDown" in firing(prometheus), "it fires", 30)
