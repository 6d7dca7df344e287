"""What stands in text for what only a container has."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastgen_devcluster.node.substitutions import Substitutions

FOLDERS = {"/data": Path("/n/d"), "/data/model": Path("/n/m"), "/var/lib/x": Path("/n/x")}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/data", "/n/d"),
        ("/data/", "/n/d/"),
        ("/data/file.txt", "/n/d/file.txt"),
        ("/data/model", "/n/m"),
        ("/data/models", "/n/d/models"),
        ("/database", "/database"),
        ("/data-2", "/data-2"),
        ("/data.bak", "/data.bak"),
        ("/other/data", "/other/data"),
        ("--to=/data/a,/var/lib/x:/usr", "--to=/n/d/a,/n/x:/usr"),
        ("file:///var/lib/x/y", "file:///n/x/y"),
        ("http://host/data", "http://host/data"),
        ("cat '/data/a' > \"/var/lib/x\"", "cat '/n/d/a' > \"/n/x\""),
        ("--host 0.0.0.0", "--host 127.1.2.3"),
        ("0.0.0.0:8000,10.0.0.0", "127.1.2.3:8000,10.0.0.0"),
        ("0.0.0.0.1", "0.0.0.0.1"),
    ],
)
def test_paths_and_every_interface_are_replaced_where_they_are_meant(text: str, expected: str) -> None:
    assert Substitutions(FOLDERS, "127.1.2.3").in_text(text) == expected


def test_a_folder_with_a_backslash_is_taken_as_it_is() -> None:
    assert Substitutions({"/d": Path("/n/\\1")}, "").in_text("/d/x") == "/n/\\1/x"


def test_what_stands_for_one_mount_is_not_taken_for_another() -> None:
    folders = {"/tmp": Path("/tmp/pod/tmp"), "/model": Path("/tmp/models")}
    assert Substitutions(folders, "").in_text("/model:/tmp/x") == "/tmp/models:/tmp/pod/tmp/x"
