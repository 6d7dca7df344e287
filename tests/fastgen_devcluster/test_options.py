"""Options are checked where they are made, and travel to the supervisor whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fastgen.errors import UsageError
from fastgen_devcluster.options import ClusterOptions, host_path


def test_options_arrive_as_they_were_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("models").mkdir()
    Path("scrape.yaml").touch()
    sent = ClusterOptions(
        name="other",
        nodes=3,
        prometheus_config=Path("scrape.yaml"),
        images={"acme/thing": ("python3", "-m", "thing")},
        host_paths={"/models": Path("models")},
        keep_logs_in=Path("kept"),
    )
    text = sent.to_json()
    monkeypatch.chdir("/")
    arrived = ClusterOptions.from_json(text)
    assert arrived.images == sent.images
    assert arrived.host_paths == {"/models": tmp_path / "models"}
    assert (arrived.prometheus_config, arrived.keep_logs_in) == (tmp_path / "scrape.yaml", tmp_path / "kept")
    assert (arrived.name, arrived.nodes, arrived.node_names) == ("other", 3, ("node-0", "node-1", "node-2"))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"name": "../etc"}, "cannot name a cluster"),
        ({"name": "a" * 41}, "at most 40"),
        ({"nodes": -1}, "allowed are 0 to"),
        ({"gpus_per_node": 1000}, "allowed are 0 to"),
        ({"ready_seconds": 0.0}, "more than 0"),
        ({"host_paths": {"models": Path("/tmp")}}, "no absolute path"),
        ({"host_paths": {"/models": Path("/no/such/folder")}}, "no folder on this machine"),
        ({"prometheus_config": Path("/no/such/file")}, "there is no file"),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        ClusterOptions(**options)


def test_a_host_path_is_two_paths() -> None:
    assert host_path("/var/models=/srv") == ("/var/models", Path("/srv"))
    with pytest.raises(UsageError, match="PATH=FOLDER"):
        host_path("/var/models")
