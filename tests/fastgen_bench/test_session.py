"""A whole `fastgen bench`: flags in, files out; and Ctrl-C in the middle."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest
from matplotlib.image import imread
from steady_server import SteadyServer

from fastgen.errors import UsageError
from fastgen_bench.command import command, sweep_of
from fastgen_bench.machine import command_line, provenance
from fastgen_bench.report import figure, markdown_table

RUN = """
import argparse, sys
from fastgen_bench.command import command
parser = argparse.ArgumentParser()
command.add_arguments(parser)
sys.exit(command.run(parser.parse_args()))
"""


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(words)


def test_flags_become_a_sweep() -> None:
    sweep = sweep_of(parsed("--clients", "1,8", "--prompt-tokens", "100", "--url", "http://h:1", "--no-stream"))
    assert [(point.clients, point.rate, point.prompt_tokens, point.stream) for point in sweep] == [
        (1, None, 100, False),
        (8, None, 100, False),
    ]
    assert [point.rate for point in sweep_of(parsed("--rate", "0.5,2"))] == [0.5, 2.0]
    assert [point.clients for point in sweep_of(parsed())] == [1, 4, 16]


@pytest.mark.parametrize(
    "words", [("--clients", "one"), ("--clients", "1", "--rate", "1"), ("--rate", "0"), ("--clients", ",")]
)
def test_wrong_flags_are_explained(words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match=r"clients|rate"):
        sweep_of(parsed(*words))


async def start(steady: SteadyServer, folder: Path, *words: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", RUN, "--url", steady.url, "--output", str(folder), *words,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip


async def test_files_of_a_sweep(steady: SteadyServer, tmp_path: Path) -> None:
    process = await start(steady, tmp_path, "--clients", "1,4", "--requests", "8", "--output-tokens", "4")
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, out.decode()
    saved = json.loads((tmp_path / "result.json").read_text())
    assert [point["max_concurrency"] for point in saved["points"]] == [1, 4]
    assert {"date", "commit", "command", "hardware", "software", "load_average_before", "load_average_after"} <= set(
        saved
    )
    assert "secret" not in json.dumps(saved)
    first = saved["points"][0]
    assert len(first["ttfts"]) == len(first["input_lens"]) == 8
    vllm_keys = "duration completed total_input_tokens total_output_tokens request_throughput request_goodput "
    vllm_keys += "output_throughput total_token_throughput mean_ttft_ms median_tpot_ms p99_itl_ms std_e2el_ms"
    assert set(vllm_keys.split()) <= set(first)
    for name in ("throughput-latency.png", "effective-throughput.png"):
        pixels = imread(tmp_path / name)
        assert pixels.shape[0] > 400
        assert pixels.std() > 0.02, "an empty picture"
    assert b"4 clients" in out


async def test_ctrl_c_writes_what_was_measured(steady: SteadyServer, tmp_path: Path) -> None:
    flags = ["--clients", "2", "--requests", "100000", "--output-tokens", "2", "--no-plots"]
    process = await start(steady, tmp_path, *flags)
    await asyncio.wait_for(steady.requests_seen(12), 60)
    process.send_signal(signal.SIGINT)
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 130, out.decode()
    (point,) = json.loads((tmp_path / "result.json").read_text())["points"]
    assert point["interrupted"] is True
    assert 2 <= point["completed"] < 100
    assert b"interrupted" in out


def test_commands_are_recorded_without_the_folders_of_programs() -> None:
    assert command_line(["/opt/env/bin/python", "/opt/env/bin/fastgen", "bench", "--title", "a b"]) == (
        "fastgen bench --title 'a b'"
    )
    assert command_line(["/usr/bin/python3", "-m", "fastgen_bench.peers"]) == "python3 -m fastgen_bench.peers"
    assert command_line(["/usr/bin/python3", "x/run.py", "1"]) == "python3 run.py 1"


def test_provenance_names_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTGEN_COMMIT", "abc")
    with provenance() as about:
        before = dict(about)
    assert before["load_average_after"] is None
    assert about["commit"] == "abc"
    assert about["hardware"]["cores"] >= 1
    assert about["hardware"]["memory_gib"] > 0.1
    assert len(about["load_average_after"]) == 3


def test_figures_are_read_by_people() -> None:
    assert [figure(value) for value in (None, 0, 1234.5, 12.345, 0.012345)] == ["–", "0", "1234", "12.3", "0.0123"]
    assert markdown_table(["a", "b"], [["x", "1"]]) == "| a | b |\n|---|---:|\n| x | 1 |"
