"""The `fastgen` command teaches, suggests, and ends with the right status and no traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import eventually

from fastgen_server.cli import main

ENTRY = [sys.executable, "-m", "fastgen_server"]


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | environment
    return subprocess.run([*ENTRY, *words], capture_output=True, text=True, env=env, timeout=60, check=False)


def test_help_lists_every_command_with_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for name in ("serve", "balance", "up", "ps", "down", "bench"):
        assert any(line.startswith(f"  {name} ") and len(line.split()) > 3 for line in text.splitlines()), name
    assert "fastgen up examples/local.yaml" in text
    assert "not available" not in text


@pytest.mark.parametrize("name", ["serve", "balance", "up", "ps", "down", "bench"])
def test_every_command_teaches(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    assert len(capsys.readouterr().out.splitlines()) > 6


def test_help_is_quick_because_nothing_heavy_is_loaded() -> None:
    code = (
        "import sys; from fastgen_server.cli import main; main(['--help'])\n"
        "assert not {'torch', 'transformers', 'matplotlib'} & sys.modules.keys(), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_version_and_nothing_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("fastgen 0.")
    assert main([]) == 2
    assert "usage: fastgen COMMAND" in capsys.readouterr().err


def test_an_unknown_command_suggests(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["srve"]) == 2
    assert capsys.readouterr().err == "fastgen: unknown command 'srve'; did you mean 'serve'?\n"


def test_an_unknown_option_suggests(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["up", "x.yaml", "--replica", "2"])
    assert ended.value.code == 2
    assert "unknown option '--replica'; did you mean '--replicas'?" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["down", "--al"])
    assert "did you mean '--all'?" in capsys.readouterr().err


def test_a_mistake_is_a_message_and_the_traceback_is_for_those_who_ask(tmp_path: Path) -> None:
    found = run("up", str(tmp_path / "nothing.yaml"))
    assert found.returncode == 2
    assert found.stderr == f"fastgen: there is no file {tmp_path / 'nothing.yaml'}\n"
    assert "Traceback" in run("up", str(tmp_path / "nothing.yaml"), FASTGEN_DEBUG="1").stderr


def test_a_reader_that_leaves_is_no_error() -> None:
    process = subprocess.Popen([*ENTRY, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(30) == 141
    process.stderr.close()


def test_ctrl_c_ends_without_a_traceback(tmp_path: Path) -> None:
    address_file = tmp_path / "address.json"
    words = ["balance", "--port", "0", "--grpc-port", "0", "--replicas-file", str(tmp_path / "replicas.json")]
    (tmp_path / "replicas.json").write_text("[]")
    process = subprocess.Popen(
        [*ENTRY, *words, "--address-file", str(address_file)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    eventually(address_file.exists, 30)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert process.returncode in (0, 130)
    assert b"Traceback" not in out


def test_ps_and_down_where_nothing_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ps", "--state-dir", str(tmp_path)]) == 0
    assert "nothing runs here" in capsys.readouterr().err
    assert main(["down", "llama", "--state-dir", str(tmp_path)]) == 2
    assert "'llama' is not running; running: nothing" in capsys.readouterr().err
    assert main(["down", "--state-dir", str(tmp_path)]) == 2
    assert main(["down", "--all", "--state-dir", str(tmp_path)]) == 0


def test_up_refuses_a_port_that_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import socket

    manifest = tmp_path / "a.yaml"
    manifest.write_text(
        "{apiVersion: fastgen.dev/v1alpha1, kind: FastGenDeployment, metadata: {name: a}, "
        "spec: {model: {source: 'hf://org/model'}}}"
    )
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert main(["up", str(manifest), "--port", port, "--state-dir", str(tmp_path)]) == 2
    assert f"--port {port}: cannot listen" in capsys.readouterr().err
    assert main(["up", str(manifest), "--replicas", "-1", "--state-dir", str(tmp_path)]) == 2
    assert main(["up", str(manifest), "--name", "../x", "--state-dir", str(tmp_path)]) == 2
