"""`fastgen bench` against `fastgen serve`: what the generator counts is what the server counted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from serve_process import ServeProcess, serve_process

from fastgen.contract import metrics as names

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeProcess]:
    flags = ["--model-name", "tiny", "--dtype", "float32", "--token-budget", "64"]
    with serve_process(tiny_llama, tmp_path_factory.mktemp("serve"), *flags) as running:
        yield running


GENERATED = f"{names.GENERATION_TOKENS.name}_total"


@pytest.mark.parametrize("api", ["completions", "chat"])
def test_both_sides_count_the_same(server: ServeProcess, tmp_path: Path, api: str) -> None:
    tokens_before = server.metric(GENERATED)
    flags = ["--clients", "1,4", "--requests", "8", "--warmup", "0", "--api", api, "--ignore-eos"]
    flags += ["--prompt-tokens", "120", "--output-tokens", "16", "--output", str(tmp_path)]
    command = [sys.executable, "-m", "fastgen_server", "bench", "--url", server.http, *flags]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    one, four = json.loads((tmp_path / "result.json").read_text())["points"]
    for point in (one, four):
        assert (point["completed"], point["failed"]) == (8, 0)
        assert point["model_id"] == "tiny"
        assert point["total_input_tokens"] == pytest.approx(8 * 120, rel=0.35)
        assert point["effective_throughput_by_server"] is not None
        tokens = [sum(pieces) for pieces in point["chunk_tokens"]]
        assert tokens == point["output_lens"]
    assert four["max_concurrent_requests"] == 4
    assert one["output_lens"] == four["output_lens"], "the same requests at every point, answered in full"
    counted = server.metric(GENERATED) - tokens_before
    sized = 4  # two small requests of one token each, per point
    assert counted == one["total_output_tokens"] + four["total_output_tokens"] + sized
