"""What is left of a cluster is found, and what belongs to another is not taken for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from waiting import eventually

from demo.cluster.stage import processes_in


def test_processes_are_found_by_the_folder_in_their_command_line(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    script = "import sys, time; print('up', flush=True); time.sleep(60)"
    words = {str(folder): True, f"--data-dir={folder}/etcd": True, f"{folder}-2/etcd": False}
    for word, is_its in words.items():
        process = subprocess.Popen([sys.executable, "-c", script, word], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        try:
            assert (str(process.pid) in processes_in(folder)) == is_its
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
    eventually(lambda: not processes_in(folder))
