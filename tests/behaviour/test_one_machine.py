"""One manifest, one machine, with the real engine, server and balancer: what `fastgen up`, `fastgen.serve` and
`fastgen.client` promise."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from waiting import eventually

import fastgen
from fastgen.errors import TooLongError, UsageError
from fastgen.local_state import process_start_ticks, read_record

pytestmark = pytest.mark.slow
START_SECONDS = 180.0
FASTGEN = [sys.executable, "-m", "fastgen_server"]


def write_manifest(folder: Path, model: Path, replicas: int) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(
        f"""
apiVersion: fastgen.dev/v1alpha1
kind: FastGenDeployment
metadata: {{name: tiny}}
spec:
  model: {{source: "file://{os.path.relpath(model, folder)}"}}
  engine: {{device: cpu, dtype: float32, tokenBudget: 64, linear: plain, kvBytes: 16Mi}}
  replicas: {replicas}
  resources: {{limits: {{nvidia.com/gpu: 1}}}}
"""
    )
    return path


class Terminal:
    """A program on a pseudo-terminal, as a person has it: what it shows, and Ctrl-C."""

    def __init__(self, words: list[str]) -> None:
        self.screen = b""
        self._here, there = pty.openpty()
        self.process = subprocess.Popen(
            words, stdin=there, stdout=there, stderr=there, start_new_session=True, env=os.environ | {"COLUMNS": "120"}
        )
        os.close(there)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            while data := os.read(self._here, 4096):
                self.screen += data
        except OSError:  # the other side has closed
            return

    def text(self) -> str:
        return self.screen.decode("utf-8", "replace")

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._reader.join(5)
        os.close(self._here)


def completion(http: str, prompt: str, max_tokens: int) -> httpx.Response:
    body = {"model": "tiny", "prompt": prompt, "max_tokens": max_tokens, "temperature": 0, "ignore_eos": True}
    return httpx.post(f"http://{http}/v1/completions", json=body, timeout=120)


def test_up_serves_survives_a_killed_replica_and_ends_cleanly(tmp_path: Path, tiny_llama: Path) -> None:
    state = tmp_path / "state"
    manifest = write_manifest(tmp_path, tiny_llama, replicas=2)
    ports = ["--port", "0", "--grpc-port", "0", "--state-dir", str(state)]
    terminal = Terminal([*FASTGEN, "up", str(manifest), *ports])
    try:
        eventually(lambda: terminal.process.poll() is not None or _state(state) == "ready", START_SECONDS)
        record = read_record(state / "tiny")
        assert record is not None, terminal.text()
        assert "ignored here: resources" in terminal.text()
        assert str(state / "tiny") in terminal.text()
        assert completion(record.http, "one", 4).json()["usage"]["completion_tokens"] == 4

        answers: list[httpx.Response] = []
        loads = [threading.Thread(target=_load, args=(record.http, answers, f"{i} prompt ")) for i in range(4)]
        for load in loads:
            load.start()
        eventually(lambda: len(answers) >= 4, 60)
        victim = json.loads((state / "tiny" / "replica-0.address.json").read_text())["pid"]
        os.kill(victim, signal.SIGKILL)
        for load in loads:
            load.join(120)
        assert [answer.status_code for answer in answers] == [200] * 24
        assert {answer.json()["usage"]["completion_tokens"] for answer in answers} == {24}

        listed = subprocess.run([*FASTGEN, "ps", "--state-dir", str(state)], capture_output=True, text=True, check=True)
        assert record.http in listed.stdout
        eventually(lambda: "was killed by SIGKILL; starting it again in 1 s" in terminal.text())
        eventually(lambda: "tokens/s" in terminal.text() and "met their promise" in terminal.text())
        children = [json.loads(path.read_text())["pid"] for path in (state / "tiny").glob("*.address.json")]
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.process.wait(60) == 0, terminal.text()
        assert "its logs stay in" in terminal.text()
        assert "Traceback" not in terminal.text()
        assert all(process_start_ticks(pid) is None for pid in children)
        assert read_record(state / "tiny") is None
    finally:
        terminal.close()


def _state(root: Path) -> str:
    record = read_record(root / "tiny")
    return record.state if record else "none"


def _load(http: str, answers: list[httpx.Response], prompt: str) -> None:
    for number in range(6):
        answers.append(completion(http, f"{prompt}{number}", 24))


SCRIPT = """
import sys, fastgen
client = fastgen.serve(sys.argv[1], replicas=1, name="kept", state_dir=sys.argv[2], device="cpu", dtype="float32",
                       token_budget=64, linear="plain", kv_bytes=16 * 2**20)
print(client.generate("hello", max_new_tokens=3, temperature=0.0)[0].token_ids)
"""


def test_what_serve_started_outlives_its_script_and_answers_any_other(tmp_path: Path, tiny_llama: Path) -> None:
    words = [sys.executable, "-c", SCRIPT, str(tiny_llama), str(tmp_path)]
    script = subprocess.run(words, capture_output=True, text=True, timeout=START_SECONDS, check=False)
    try:
        assert script.returncode == 0, script.stderr
        record = read_record(tmp_path / "kept")
        assert record is not None
        assert (record.state, record.detached, record.replicas_ready) == ("ready", True, 1)
        with fastgen.client("kept", state_dir=tmp_path) as client:
            (found,) = client.generate("hello", max_new_tokens=3, temperature=0.0)
            assert str(found.token_ids) == script.stdout.strip()
            pieces = list(client.stream("hello", max_new_tokens=3, temperature=0.0))
            assert sum((piece.token_ids for piece in pieces), ()) == found.token_ids
            assert client.generate([{"role": "user", "content": "hello"}], max_new_tokens=2)[0].generated_tokens <= 2
            with pytest.raises(TooLongError):
                client.generate("hello", max_new_tokens=100_000)
            with pytest.raises(UsageError, match="'kept' is running already"):
                fastgen.serve(tiny_llama, name="kept", state_dir=tmp_path)
            client.terminate()
            client.terminate()
        assert process_start_ticks(record.pid) is None
        assert read_record(tmp_path / "kept") is None
        _nothing_listens(record.http)
    finally:
        subprocess.run([*FASTGEN, "down", "--all", "--state-dir", str(tmp_path)], check=False, capture_output=True)


def _nothing_listens(http: str) -> Any:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            httpx.get(f"http://{http}/healthz", timeout=1)
        except httpx.TransportError:
            return
    raise AssertionError(f"{http} still answers")
