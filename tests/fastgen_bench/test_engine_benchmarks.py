"""The benchmarks of the engine run from one end to the other at a small size, and say what they did."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from fastgen.config import EngineConfig
from fastgen.engine import Engine
from fastgen.errors import UsageError
from fastgen_bench import compositions, peers, performance_page, tricks
from fastgen_bench.in_process import InProcessLoop, random_requests
from fastgen_bench.shapes import SHAPES, LlamaShape, random_llama, shape_named


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of its own: a benchmark's tests must not leave measurements behind, nor find any."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTGEN_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def engine(cache: Path) -> Iterator[Engine]:
    folder = random_llama(SHAPES["llama-1m"], torch.float32)
    made = Engine(EngineConfig(model=str(folder), token_budget=64, load_progress=False, linear="plain", device="cpu"))
    yield made
    made.close()


def test_shapes_have_the_sizes_their_names_say() -> None:
    assert SHAPES["llama-2-7b"].num_parameters == 6_738_415_616
    assert SHAPES["llama-3.1-8b"].num_parameters == 8_030_261_248
    assert SHAPES["llama-158m"].num_parameters == pytest.approx(158e6, rel=0.01)
    with pytest.raises(UsageError, match="llama-158m"):
        shape_named("llama-7")


def test_folders_are_sharded_complete_and_the_same_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastgen_bench.shapes.SHARD_BYTES", 200_000)
    shape = LlamaShape("mini", 64, 2, 4, 2, 128, 256, 128)
    one, two = (random_llama(shape, torch.bfloat16, parent=tmp_path / name) for name in "ab")
    index = json.loads((one / "model.safetensors.index.json").read_text())["weight_map"]
    assert set(index) == {name for name, _ in shape.tensors()}
    assert len(set(index.values())) > 1
    for file in set(index.values()):
        with safe_open(one / file, "pt") as a, safe_open(two / file, "pt") as b:
            assert all(torch.equal(a.get_tensor(key), b.get_tensor(key)) for key in a.keys())  # noqa: SIM118


def test_a_closed_loop_in_process_keeps_its_clients_busy(engine: Engine) -> None:
    requests = random_requests(9, vocab_size=2048, prompt_tokens=40, output_tokens=6, sigma=0.3, seed=3)
    records = InProcessLoop(engine).run(requests, clients=3)
    assert [record.index for record in records] == list(range(9))
    assert [record.completion_tokens for record in records] == [request.output_tokens for request in requests]
    assert [record.prompt_tokens for record in records] == [len(request.prompt_token_ids) for request in requests]
    for record in records:
        in_flight = sum(r.due_seconds <= record.due_seconds < r.ended_seconds for r in records)
        assert in_flight <= 3
        assert record.chunk_seconds == sorted(record.chunk_seconds)
        assert record.ok
    assert not engine.has_work()


def test_a_time_limit_begins_no_more_but_ends_what_began(engine: Engine) -> None:
    requests = random_requests(50, vocab_size=2048, prompt_tokens=8, output_tokens=4)
    records = InProcessLoop(engine).run(requests, clients=2, max_seconds=1e-9)
    assert len(records) <= 2
    assert not engine.has_work()


def test_requests_share_what_they_should_and_nothing_else() -> None:
    requests = random_requests(5, vocab_size=2048, prompt_tokens=32, output_tokens=4, shared_tokens=20)
    assert len({request.prompt_token_ids[:20] for request in requests}) == 1
    assert len({request.prompt_token_ids[20:] for request in requests}) == 5
    longest = random_requests(50, vocab_size=9, prompt_tokens=60, output_tokens=20, sigma=0.3, longest_tokens=70)
    assert max(len(request.prompt_token_ids) + request.output_tokens for request in longest) == 70


@pytest.mark.slow
def test_peers_compositions_and_tricks_end_to_end(cache: Path, tmp_path: Path) -> None:
    common = ["--shape", "llama-1m", "--device", "cpu", "--output", str(tmp_path), "--token-budget", "64"]
    lengths = ["--prompt-tokens", "48", "--output-tokens", "6"]
    peers.main([*common, *lengths, "--clients", "1,2", "--dtypes", "float32", "--repetitions", "2"])
    compositions.main([*common, *lengths, "--clients", "1,3", "--requests", "6"])
    tricks.main([*common, "--only", "prefix-cache,splitfuse", "--repetitions", "2"])

    (path,) = tmp_path.glob("*-peers.json")
    saved = json.loads(path.read_text())
    assert {"hardware", "commit", "command", "load_average_before", "load_average_after"} <= set(saved)
    for row in saved["tables"]["float32"]:
        assert row["ratio"] == pytest.approx(row["ours_tokens_per_second"] / row["transformers_tokens_per_second"])
        assert row["identical_answers"] == row["compared_answers"] > 0, "greedy, float32: the very same tokens"

    (path,) = tmp_path.glob("*-compositions.json")
    saved = json.loads(path.read_text())
    assert list(saved["series"]) == ["splitfuse", "prefill-first", "whole-prompt"]
    assert all(point["completed"] == 6 for points in saved["series"].values() for point in points)
    assert len(list(tmp_path.glob("*-compositions-*.png"))) == 2

    (path,) = tmp_path.glob("*-tricks.json")
    rows = {row["name"]: row for row in json.loads(path.read_text())["tricks"]}
    assert rows["prefix-cache"]["gain"] > 1.5, "seven eighths of each prompt need no computing"
    assert len(rows["splitfuse"]["runs"]["off"]) == 2

    page = tmp_path / "performance.md"
    performance_page.write(page, tmp_path)
    text = page.read_text()
    for block in performance_page.BLOCKS:
        assert f"<!-- {block}:begin -->" in text
    assert "| trick |" in text
    assert "splitfuse" in text
    before = text
    performance_page.write(page, tmp_path)
    assert page.read_text() == before
