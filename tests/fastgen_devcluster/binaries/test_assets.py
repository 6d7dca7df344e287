"""Manifests out of an upstream's source, by URL or by Go module; each file's digest is checked."""

import json
from pathlib import Path

import pytest
from file_server import FileServer

from fastgen.errors import UnknownOptionError
from fastgen_devcluster.binaries import BinariesError, assets, gobuild
from fastgen_devcluster.versions import Asset, File

CONTENT = b"kind: CustomResourceDefinition\n"


def an_asset(monkeypatch: pytest.MonkeyPatch, url: str, digest: str) -> None:
    file = File("rules.yaml", f"{url}/rules.yaml", "example/rules.yaml", digest)
    monkeypatch.setattr(assets, "ASSETS", (Asset("rules", "1.2.3", "example.test/rules", (file,)),))


def a_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: object, status: int = 0) -> None:
    folder = tmp_path / "go-bin"
    folder.mkdir()
    (folder / "answer").write_text(json.dumps(answer))
    (folder / "go").write_text(
        f"#!/bin/sh\n[ $1 = version ] && echo go1.26.8 && exit\ncat {folder}/answer\nexit {status}\n"
    )
    (folder / "go").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def test_files_come_by_url_and_are_kept(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    an_asset(monkeypatch, server.url, server.serve("/rules.yaml", CONTENT))
    folder = assets.obtain("rules")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"rules.yaml": CONTENT}
    assert assets.obtain("rules") == folder
    assert len(server.gets()) == 1


def test_where_the_url_cannot_be_reached_the_go_module_has_them(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = server.serve("/unused", CONTENT)
    an_asset(monkeypatch, "https://no-such-host.invalid", digest)
    (tmp_path / "module" / "example").mkdir(parents=True)
    (tmp_path / "module" / "example" / "rules.yaml").write_bytes(CONTENT)
    a_go(tmp_path, monkeypatch, {"Dir": str(tmp_path / "module")})
    assert (assets.obtain("rules") / "rules.yaml").read_bytes() == CONTENT


def test_everything_that_was_tried_is_listed(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.serve("/rules.yaml", b"something else")
    an_asset(monkeypatch, server.url, "0" * 64)
    a_go(tmp_path, monkeypatch, {"Error": "example.test/rules@v1.2.3: not found"}, status=1)
    with pytest.raises(BinariesError) as failure:
        assets.obtain("rules")
    assert "rules.yaml: its SHA-256 is" in str(failure.value)
    assert "Go module example.test/rules@v1.2.3: example.test/rules@v1.2.3: not found" in str(failure.value)
    assert "put rules.yaml into" in str(failure.value)


def test_a_module_with_another_content_is_not_used(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    an_asset(monkeypatch, server.url, "0" * 64)
    (tmp_path / "module" / "example").mkdir(parents=True)
    (tmp_path / "module" / "example" / "rules.yaml").write_bytes(CONTENT)
    a_go(tmp_path, monkeypatch, {"Dir": str(tmp_path / "module")})
    with pytest.raises(BinariesError, match=r"example/rules.yaml has not the SHA-256 that is pinned"):
        assets.obtain("rules")


def test_without_go_that_is_said(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    an_asset(monkeypatch, server.url, "0" * 64)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(gobuild, "USUAL_PLACE", tmp_path / "go")
    with pytest.raises(BinariesError, match="no go on the PATH"):
        assets.obtain("rules")


def test_an_asset_nobody_knows_is_an_error() -> None:
    with pytest.raises(UnknownOptionError, match="did you mean 'prometheus-operator-crds'"):
        assets.obtain("prometheus-operator-crd")
