"""Which pods stand behind a Service, and where they listen."""

from __future__ import annotations

from typing import Any

import pytest

from fastgen_devcluster.services import Address, NoAddressError, ServiceKey, parse_name, ready_addresses


def service(**spec: Any) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80, "targetPort": "http"}, {"name": "admin", "port": 81, "targetPort": 9000}]
    return {
        "metadata": {"namespace": "default", "name": "llama"},
        "spec": {"selector": {"app": "llama"}, "ports": ports, **spec},
    }


def pod(name: str, address: str, *, ready: str = "True", app: str = "llama", **metadata: Any) -> dict[str, Any]:
    containers = [{"name": "main", "ports": [{"name": "http", "containerPort": 8080}]}]
    return {
        "metadata": {"namespace": "default", "name": name, "labels": {"app": app}, **metadata},
        "spec": {"containers": containers},
        "status": {
            "podIP": address,
            "phase": "Running",
            "conditions": [
                {"type": "Ready", "status": ready, **({} if ready == "True" else {"reason": "ContainersNotReady"})}
            ],
        },
    }


PODS = (pod("a", "127.1.0.1"), pod("b", "127.1.0.2"), pod("other", "127.1.0.9", app="other"))


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("llama.default", ("default", "llama")),
        ("LLAMA.Default.svc", ("default", "llama")),
        ("llama.default.svc.cluster.local", ("default", "llama")),
        ("llama.default.svc.cluster.local.", ("default", "llama")),
        ("llama", None),
        ("", None),
        ("llama.", None),
        (".default", None),
        ("www.example.com", None),
        ("llama.default.svc.other.domain", None),
        ("10.0.0.1", None),
    ],
)
def test_names_are_those_a_cluster_knows(host: str, key: tuple[str, str] | None) -> None:
    assert parse_name(host) == (ServiceKey(*key) if key else None)


@pytest.mark.parametrize(
    ("port", "number"), [(80, 8080), (81, 9000), ("http", 8080), ("admin", 9000), (None, 8080)], ids=str
)
def test_a_port_of_the_service_leads_to_a_port_of_the_pod(port: int | str | None, number: int) -> None:
    assert ready_addresses(service(), PODS, port) == [Address("127.1.0.1", number), Address("127.1.0.2", number)]


def test_a_port_without_a_target_is_the_same_on_the_pod() -> None:
    assert ready_addresses(service(ports=[{"port": 5000}]), PODS[:1], 5000) == [Address("127.1.0.1", 5000)]


def test_nobody_translates_the_ports_of_a_headless_service() -> None:
    assert ready_addresses(service(clusterIP="None"), PODS[:1], 8080) == [Address("127.1.0.1", 8080)]
    assert ready_addresses(service(clusterIP="None"), PODS[:1], "admin") == [Address("127.1.0.1", 9000)]


def test_only_ready_pods_get_requests() -> None:
    pods = (pod("a", "127.1.0.1", ready="False"), pod("b", "127.1.0.2"), pod("c", "127.1.0.3", deletionTimestamp="now"))
    assert ready_addresses(service(), pods, 80) == [Address("127.1.0.2", 8080)]


def test_unless_the_service_publishes_the_others_too() -> None:
    pods = (pod("a", "127.1.0.1", ready="False"),)
    assert ready_addresses(service(publishNotReadyAddresses=True), pods, 80) == [Address("127.1.0.1", 8080)]


@pytest.mark.parametrize(
    ("what", "pods", "port", "says"),
    [
        (service(), (), 80, r"no ready pod behind Service default/llama \(app=llama\): there is no such pod"),
        (service(), PODS, 82, "Service default/llama has no port 82; it has: 80, 81"),
        (service(selector=None), PODS, 80, "has no selector"),
        (service(type="ExternalName"), PODS, 80, "has no selector"),
        (service(), (pod("a", "", ready="False"),), 80, r"a is not ready \(ContainersNotReady\)"),
        (service(), (pod("a", "127.1.0.1", deletionTimestamp="now"),), 80, "a is terminating"),
        (service(ports=[{"port": 80, "targetPort": "grpc"}]), PODS[:1], 80, "a is ready"),
    ],
)
def test_where_nobody_answers_it_is_said_why(what: Any, pods: Any, port: int, says: str) -> None:
    with pytest.raises(NoAddressError, match=says):
        ready_addresses(what, pods, port)
