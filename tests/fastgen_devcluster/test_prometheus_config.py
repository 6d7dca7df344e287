"""A configuration meant for inside a cluster, as it is used beside one."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from fastgen.errors import UsageError
from fastgen_devcluster.prometheus import DEFAULT_CONFIG, local_config, read_config

KUBECONFIG = Path("/run/kubeconfig")
WRITTEN = """
global: {scrape_interval: 1m, scrape_timeout: 50s, external_labels: {cluster: home}}
rule_files: [alerts/*.yaml, /etc/rules.yaml]
alerting:
  alertmanagers:
  - kubernetes_sd_configs: [{role: endpoints}]
scrape_configs:
- job_name: pods
  scrape_interval: 30s
  scrape_timeout: 20s
  metrics_path: /other
  kubernetes_sd_configs:
  - {role: pod, namespaces: {names: [a]}}
  - role: endpoints
- job_name: fixed
  static_configs: [{targets: ["127.0.0.1:1"]}]
"""


def used(text: str) -> dict[str, object]:
    made = local_config(text, source=Path("/etc/p/prometheus.yaml"), kubeconfig=KUBECONFIG, scrape_interval_seconds=2)
    config = yaml.safe_load(made)
    assert isinstance(config, dict)
    return config


def test_every_discovery_is_told_whom_to_ask_and_every_job_how_often() -> None:
    config = used(WRITTEN)
    assert config == {
        "global": {"scrape_interval": "2s", "evaluation_interval": "2s", "external_labels": {"cluster": "home"}},
        "rule_files": ["/etc/p/alerts/*.yaml", "/etc/rules.yaml"],
        "alerting": {
            "alertmanagers": [{"kubernetes_sd_configs": [{"role": "endpoints", "kubeconfig_file": str(KUBECONFIG)}]}]
        },
        "scrape_configs": [
            {
                "job_name": "pods",
                "metrics_path": "/other",
                "kubernetes_sd_configs": [
                    {"role": "pod", "namespaces": {"names": ["a"]}, "kubeconfig_file": str(KUBECONFIG)},
                    {"role": "endpoints", "kubeconfig_file": str(KUBECONFIG)},
                ],
            },
            {"job_name": "fixed", "static_configs": [{"targets": ["127.0.0.1:1"]}]},
        ],
    }


def test_without_a_file_annotated_pods_are_scraped() -> None:
    config = yaml.safe_load(read_config(None, kubeconfig=KUBECONFIG, scrape_interval_seconds=2))
    assert config["scrape_configs"][0]["kubernetes_sd_configs"] == [{"role": "pod", "kubeconfig_file": str(KUBECONFIG)}]
    assert r"([^:]+)(?::\d+)?;(\d+)" in DEFAULT_CONFIG


@pytest.mark.parametrize("text", ["", "scrape_configs: 3", "- a list", "a: [b"])
def test_what_is_no_configuration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"prometheus\.yaml is no"):
        used(text)
