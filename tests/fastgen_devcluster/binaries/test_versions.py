"""The pins hold together: versions.py and the Go modules say the same."""

import re

import pytest

from fastgen_devcluster.binaries.cache import GOTOOLS
from fastgen_devcluster.versions import ASSETS, FAMILIES, KUBERNETES, NAMES, Family

DIGEST = re.compile(r"[0-9a-f]{64}")


def go_mod(family: Family) -> str:
    return (GOTOOLS / family.name / "go.mod").read_text()


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_the_go_module_requires_the_pinned_version(family: Family) -> None:
    module = family.programs[0].package.split("/cmd/")[0]
    assert f"require {module} {family.module_version}\n" in go_mod(family)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_program_is_a_tool_of_its_module(family: Family) -> None:
    for program in family.programs:
        assert re.search(rf"^(tool |\t){re.escape(program.package)}$", go_mod(family), re.MULTILINE), program.name


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_pinned_version_would_itself_do_where_it_is_found_on_a_machine(family: Family) -> None:
    major, minor = (int(part) for part in family.version.split(".")[:2])
    assert family.oldest <= (major, minor) <= family.newest


def test_the_staging_modules_of_kubernetes_are_of_its_own_version() -> None:
    (kubernetes,) = (family for family in FAMILIES if family.name == "kubernetes")
    replaced = re.findall(r"^\t(k8s\.io/\S+) => (\S+) (\S+)$", go_mod(kubernetes), re.MULTILINE)
    assert len(replaced) >= 30
    assert {(old == new, version) for old, new, version in replaced} == {(True, f"v0.{KUBERNETES.split('.', 1)[1]}")}


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_every_archive_can_be_checked(architecture: str) -> None:
    for family in FAMILIES:
        for program in family.programs:
            digest = program.archive.sha256.get(architecture)
            assert program.archive.checksums_url if digest is None else DIGEST.fullmatch(digest), program.name


def test_archives_are_fetched_over_tls() -> None:
    urls = [program.archive.url for family in FAMILIES for program in family.programs]
    urls += [file.url for asset in ASSETS for file in asset.files]
    assert all(url.startswith("https://") for url in urls)


def test_names_are_unique() -> None:
    assert len(set(NAMES)) == len(NAMES) == 8
