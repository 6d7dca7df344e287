from collections.abc import Iterator
from pathlib import Path

import pytest
from file_server import FileServer, file_server

from fastgen_devcluster.binaries.cache import Cache


@pytest.fixture(autouse=True)
def _nothing_on_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each test says itself what the machine has."""
    for name in ("KUBEBUILDER_ASSETS", "http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FASTGEN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as found:
        yield found


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """An empty cache, for a family "tools" whose Go module has no dependencies."""
    module = tmp_path / "gotools" / "tools"
    module.mkdir(parents=True)
    (module / "go.mod").write_text("module example.test/tools\n\ngo 1.21\n")
    (module / "go.sum").write_text("")
    (module / "hammer").mkdir()
    (module / "hammer" / "main.go").write_text('package main\n\nfunc main() { println("built") }\n')
    return Cache(tmp_path / "cache" / "devcluster", gotools=tmp_path / "gotools")
