"""A Prometheus beside the cluster, scraping its pods: a component of the devcluster, not a pod.

Its configuration is one that would run inside a cluster; here it is told by which kubeconfig to ask for pods, and to
scrape more often, since nobody wants to watch a demonstration for minutes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from fastgen.errors import UsageError

RETENTION = "12h"
DEFAULT_CONFIG = """\
# Pods with the annotations prometheus.io/scrape: "true" and prometheus.io/port.
scrape_configs:
- job_name: pods
  kubernetes_sd_configs:
  - role: pod
  relabel_configs:
  - source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_scrape]
    regex: "true"
    action: keep
  - source_labels: [__address__, __meta_kubernetes_pod_annotation_prometheus_io_port]
    regex: ([^:]+)(?::\\d+)?;(\\d+)
    replacement: $1:$2
    target_label: __address__
  - source_labels: [__meta_kubernetes_namespace]
    target_label: namespace
  - source_labels: [__meta_kubernetes_pod_name]
    target_label: pod
"""
"""For who names no configuration."""


def read_config(path: Path | None, *, kubeconfig: Path, scrape_interval_seconds: int) -> str:
    """The configuration in `path` (none takes DEFAULT_CONFIG) as it is used here. Raises UsageError if it is none."""
    text = DEFAULT_CONFIG if path is None else path.read_text()
    where = path or Path("the default configuration")
    return local_config(text, source=where, kubeconfig=kubeconfig, scrape_interval_seconds=scrape_interval_seconds)


def local_config(text: str, *, source: Path, kubeconfig: Path, scrape_interval_seconds: int) -> str:
    """The configuration `text` as it is used here; `source` is the file it came from, whose folder its paths mean."""
    try:
        config = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"{source} is no YAML: {error}") from None
    if not isinstance(config, dict) or not isinstance(config.get("scrape_configs"), list):
        raise UsageError(f"{source} is no Prometheus configuration: it has no list scrape_configs")
    interval = f"{scrape_interval_seconds}s"
    config["global"] = {**config.get("global", {}), "scrape_interval": interval, "evaluation_interval": interval}
    config["global"].pop("scrape_timeout", None)
    for job in config["scrape_configs"]:
        job.pop("scrape_interval", None)
        job.pop("scrape_timeout", None)
    for discovery in _discoveries(config):
        discovery["kubeconfig_file"] = str(kubeconfig)
    if "rule_files" in config:
        config["rule_files"] = [str(source.parent.absolute() / name) for name in config["rule_files"]]
    return yaml.safe_dump(config, sort_keys=False)


def _discoveries(config: Any) -> Iterator[dict[str, Any]]:
    """Every entry of every kubernetes_sd_configs, wherever it stands."""
    if isinstance(config, dict):
        for name, value in config.items():
            if name == "kubernetes_sd_configs":
                yield from value
            else:
                yield from _discoveries(value)
    elif isinstance(config, list):
        for value in config:
            yield from _discoveries(value)


def command(binary: Path, *, config: Path, data: Path, address: str) -> list[str]:
    return [
        str(binary),
        f"--config.file={config}",
        f"--storage.tsdb.path={data}",
        f"--storage.tsdb.retention.time={RETENTION}",
        f"--web.listen-address={address}",
        "--web.enable-lifecycle",
        "--log.level=warn",
    ]
