"""Files over the limit are found, whether git knows them yet or not; generated ones are let be."""

import subprocess
from pathlib import Path

import check_sizes


def test_new_files_count_and_ignored_and_generated_ones_do_not(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / ".gitignore").write_text("ignored/\n")
    (tmp_path / "ignored").mkdir()
    for name in ("new.py", "ignored/x.py", "y_pb2.py"):
        (tmp_path / name).write_text("pass\n")
    assert [path.name for path in check_sizes.source_files(tmp_path)] == ["new.py"]


def test_without_git_every_visible_file_counts(tmp_path: Path) -> None:
    (tmp_path / ".venv").mkdir()
    for name in ("a.py", ".venv/b.py"):
        (tmp_path / name).write_text("pass\n")
    assert [path.name for path in check_sizes.source_files(tmp_path)] == ["a.py"]
