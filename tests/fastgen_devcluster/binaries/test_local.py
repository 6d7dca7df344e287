"""Programs a machine has already are used when their version fits; otherwise it is said why not."""

from pathlib import Path

import pytest
from program_family import a_family

from fastgen_devcluster.binaries import local
from fastgen_devcluster.versions import Archive

FAMILY = a_family(Archive("https://nowhere.test/hammer", None, {}))
HAMMER = FAMILY.programs[0]


def a_program(folder: Path, says: str, *, status: int = 0, name: str = "hammer") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{says}'\nexit {status}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("says", ["hammer 1.2.3", "Hammer v1.4", "hammer, version 1.3.0-rc.1 (branch: main)"])
def test_a_fitting_version_on_the_path_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str) -> None:
    path = a_program(tmp_path / "bin", says)
    monkeypatch.setenv("PATH", str(path.parent), prepend=":")
    assert local.on_path(FAMILY, HAMMER).path == path


@pytest.mark.parametrize(
    ("says", "status", "why"),
    [
        ("hammer 1.1.9", 0, "it is 1.1, needed is 1.2 to 1.4"),
        ("hammer 1.5.0", 0, "it is 1.5, needed is 1.2 to 1.4"),
        ("hammer from Tuesday", 0, "does not say its version"),
        ("hammer 1.2.3", 3, "exit status 3"),
    ],
)
def test_another_version_on_the_path_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, status: int, why: str
) -> None:
    path = a_program(tmp_path / "bin", says, status=status)
    monkeypatch.setenv("PATH", str(path.parent), prepend=":")
    look = local.on_path(FAMILY, HAMMER)
    assert look.path is None
    assert str(path) in look.tried
    assert why in look.tried


def test_a_file_that_cannot_run_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "hammer").write_bytes(b"\x7fELF of another machine")
    (folder / "hammer").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    look = local.on_path(FAMILY, HAMMER)
    assert look.path is None
    assert "it failed" in look.tried


def test_the_assets_folder_is_trusted_where_a_program_does_not_know_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = a_program(tmp_path / "assets", "hammer, version  (branch: )")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(path.parent))
    assert local.in_assets(FAMILY, HAMMER).path == path


def test_the_assets_folder_is_not_used_with_a_version_known_to_be_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(a_program(tmp_path / "assets", "hammer 0.9").parent))
    assert "it is 0.9" in local.in_assets(FAMILY, HAMMER).tried


def test_an_upgraded_program_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = a_program(tmp_path / "bin", "hammer 1.1")
    monkeypatch.setenv("PATH", str(path.parent), prepend=":")
    assert local.on_path(FAMILY, HAMMER).path is None
    a_program(tmp_path / "bin", "hammer 1.2")
    assert local.on_path(FAMILY, HAMMER).path == path
