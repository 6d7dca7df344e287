"""What was measured is remembered, by one process for all, and a cache that cannot be kept harms nobody."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import torch

from fastgen.runtime.measurements import measurement_file, remembered

CPU = torch.device("cpu")


def test_files_differ_by_kind_and_facts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FASTGEN_CACHE", str(tmp_path))
    files = [measurement_file(kind, CPU, *facts) for kind in ("a", "b") for facts in ((), (1,), (1, "x"))]
    assert len(set(files)) == len(files)
    assert all(file.parent == tmp_path for file in files)
    assert measurement_file("a", CPU, 1) == files[1]


def test_measured_once_even_by_two_at_a_time(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "kept.json"
    calls: list[int] = []

    def measure() -> list[int]:
        calls.append(1)
        time.sleep(0.05)
        return [len(calls)]

    found: list[list[int]] = []
    threads = [threading.Thread(target=lambda: found.append(remembered(file, measure))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[1]] * 4
    assert calls == [1]


def test_a_damaged_file_is_measured_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "kept.json"
    file.write_text("{")
    assert remembered(file, lambda: 5) == 5
    assert "measuring again" in caplog.text
    assert remembered(file, lambda: 6) == 5


def test_a_folder_that_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    assert remembered(tmp_path / "file" / "kept.json", lambda: 5) == 5
    assert "measurements cannot be kept" in caplog.text
