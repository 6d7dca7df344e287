"""The control plane is a real one, and its parts can be taken down and brought back. (A cluster of its own: without
nodes, so pods are only as ready as the test says.)"""

from __future__ import annotations

import http.server
import json
import os
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest
from waiting import eventually

from fastgen_devcluster.cli import main
from fastgen_devcluster.cluster import ClusterOptions, DevCluster, running, start
from fastgen_devcluster.errors import DevClusterError

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


class Started(NamedTuple):
    cluster: DevCluster
    seconds: float
    said: list[str]


@pytest.fixture(scope="module")
def started() -> Iterator[Started]:
    said: list[str] = []
    began = time.monotonic()
    options = ClusterOptions(name=f"control-{os.getpid()}", nodes=2)
    with running(options, said.append) as cluster:
        yield Started(cluster, time.monotonic() - began, said)


@pytest.fixture
def here(started: Started) -> DevCluster:
    return started.cluster


def fetch(url: str, proxy: str = "") -> tuple[int, str]:
    """Status and body; 0 where nobody listens."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": proxy} if proxy else {}))
    try:
        with opener.open(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def test_it_is_ready_within_20_seconds_and_says_how_it_goes(started: Started) -> None:
    assert started.seconds < 20
    assert any(line.startswith("kube-apiserver is ready (") for line in started.said)


def test_pods_can_be_made_at_once(here: DevCluster) -> None:
    assert here.kubectl("get", "serviceaccount", "default", "-o", "name") == "serviceaccount/default\n"
    ready = here.kubectl("get", "nodes", "-o", 'jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}')
    assert ready == "True True"


def test_it_speaks_tls_only_and_to_those_it_knows(here: DevCluster) -> None:
    status, text = fetch(here.server.replace("https://", "http://"))
    assert (status, "HTTPS server" in text) == (400, True)
    can_i = here.kubectl("auth", "can-i", "get", "pods", "--as=somebody", check=False)
    assert can_i == "no\n"


@pytest.mark.parametrize(
    ("user", "may"), [("devcluster:prometheus", "services"), ("devcluster:service-proxy", "services")]
)
def test_what_stands_beside_it_has_no_more_rights_than_it_needs(here: DevCluster, user: str, may: str) -> None:
    def can_i(verb: str, what: str) -> str:
        return here.kubectl("auth", "can-i", verb, what, "-A", f"--as={user}", check=False).strip()

    assert (can_i("watch", "pods"), can_i("list", may)) == ("yes", "yes")
    assert (can_i("get", "secrets"), can_i("update", "pods"), can_i("create", "pods")) == ("no", "no", "no")


def test_what_kubectl_says_on_failure_is_the_errors_message(here: DevCluster) -> None:
    with pytest.raises(DevClusterError, match=r'kubectl get pods nobody ended with 1: .*pods "nobody" not found'):
        here.kubectl("get", "pods", "nobody")
    assert here.kubectl("get", "pods", "nobody", "--ignore-not-found", check=False) == ""
    assert "created" in here.kubectl("apply", "-f", "-", input=CONFIG_MAP.format(name="from-input"))


CONFIG_MAP = '{{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {{"name": "{name}"}}}}'


def test_the_audit_log_tells_who_asked_for_what(here: DevCluster) -> None:
    here.kubectl("create", "configmap", "audited")
    here.kubectl("get", "configmap", "audited")
    entries = [json.loads(line) for line in here.audit_log.read_text().splitlines()]
    mine = [entry for entry in entries if entry.get("objectRef", {}).get("name") == "audited"]
    assert [entry["verb"] for entry in mine] == ["create", "get"]
    assert {entry["userAgent"].split("/")[0] for entry in mine} == {"kubectl"}
    assert {entry["user"]["username"] for entry in mine} == {"devcluster-admin"}
    assert "requestObject" not in mine[0]


def test_a_second_cluster_of_the_name_is_refused_and_one_of_another_name_is_not_in_its_way(here: DevCluster) -> None:
    with pytest.raises(DevClusterError, match=f"cluster '{here.name}' is up already"):
        start(ClusterOptions(name=here.name))
    options = ClusterOptions(name=f"{here.name}-other", prometheus=False, nodes=0)
    with running(options) as other:
        assert other.server != here.server
        assert other.kubectl("get", "nodes") == ""
    assert here.kubectl("get", "--raw", "/readyz") == "ok"


def test_kubectl_and_helm_keep_their_files_in_the_clusters_folder(here: DevCluster) -> None:
    assert here.helm("list").startswith("NAME")
    here.kubectl("get", "pods")
    assert (here.folder / "kubectl-cache").is_dir()
    assert here.environment()["HELM_CACHE_HOME"].startswith(str(here.folder))


class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *args: object) -> None: ...


@contextmanager
def a_service(cluster: DevCluster, name: str) -> Iterator[None]:
    """A Service with one ready pod behind it, which is a server of this test."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hello) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        labels, meta = {"app": name}, {"name": name}
        port = server.server_address[1]
        service = {"selector": labels, "ports": [{"port": 80, "targetPort": port}]}
        # Gated, so that it is no node's; ready, because its status is written here.
        pod = {"schedulingGates": [{"name": "test/gate"}], "containers": [{"name": "main", "image": "none"}]}
        for manifest in (
            {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": service},
            {"apiVersion": "v1", "kind": "Pod", "metadata": {**meta, "labels": labels}, "spec": pod},
        ):
            cluster.kubectl("apply", "-f", "-", input=json.dumps(manifest))
        ready = {"podIP": "127.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]}
        cluster.kubectl("patch", "pod", name, "--subresource=status", "--patch", json.dumps({"status": ready}))
        yield
        server.shutdown()


def test_services_are_reached_by_name_through_the_proxy(here: DevCluster, capsys: pytest.CaptureFixture[str]) -> None:
    with a_service(here, "hello"):
        url = "http://hello.default.svc.cluster.local/x"
        eventually(lambda: fetch(url, here.proxy_url) == (200, "hello"))
        assert main(["address", "--name", here.name, "default/hello"]) == 0
        assert fetch(f"http://{capsys.readouterr().out.strip()}/") == (200, "hello")
    assert fetch("http://prometheus.monitoring:9090/-/ready", here.proxy_url)[0] == 200


def test_the_api_server_comes_back_on_its_port_with_all_it_knew(here: DevCluster) -> None:
    here.kubectl("create", "configmap", "kept")
    before = here.component_process("kube-apiserver")
    here.restart_component("kube-apiserver")
    assert before is not None
    assert here.component_process("kube-apiserver") not in (None, before)
    assert not before.is_alive()
    assert here.kubectl("get", "configmap", "kept", "-o", "name") == "configmap/kept\n"
    # Everybody who watched it goes on watching: controllers make a namespace's account, the proxy sees a Service.
    here.kubectl("create", "namespace", "after")
    eventually(lambda: here.kubectl("-n", "after", "get", "serviceaccount", "default", check=False) != "", 30)
    with a_service(here, "after-restart"):
        eventually(lambda: fetch("http://after-restart.default/", here.proxy_url) == (200, "hello"), 30)
    eventually(
        lambda: (
            here.kubectl("get", "nodes", "-o", 'jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}')
            == "True True"
        ),
        30,
    )


def test_prometheus_finds_what_is_annotated_and_can_be_away(here: DevCluster) -> None:
    assert fetch(f"{here.prometheus_url}/-/ready")[0] == 200
    here.stop_component("prometheus")
    assert fetch(f"{here.prometheus_url}/-/ready") == (0, "")
    assert here.component_process("prometheus") is None
    here.start_component("prometheus")
    assert fetch(f"{here.prometheus_url}/-/ready")[0] == 200


def test_a_component_that_died_is_shown_and_can_be_brought_back(
    here: DevCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--name", here.name]) == 0
    assert "node-0   Ready" in capsys.readouterr().out
    scheduler = here.component_process("kube-scheduler")
    assert scheduler is not None
    os.kill(scheduler.pid, signal.SIGKILL)
    eventually(lambda: not scheduler.is_alive())
    assert main(["status", "--name", here.name]) == 1
    assert f"`devcluster restart --name {here.name} kube-scheduler`" in capsys.readouterr().out
    eventually(lambda: "kube-scheduler was killed by SIGKILL" in here.component_log("supervisor").read_text())
    assert main(["restart", "--name", here.name, "kube-scheduler"]) == 0
    assert here.component_process("kube-scheduler") is not None
    assert main(["logs", "--name", here.name, "kube-scheduler"]) == 0
    assert "Starting Kubernetes Scheduler" in capsys.readouterr().out


def test_a_component_that_does_not_exist_is_no_component(here: DevCluster) -> None:
    with pytest.raises(DevClusterError, match="has no component 'kubelet'; it has: etcd, kube-apiserver"):
        here.restart_component("kubelet")
