"""Start a deployment that outlives the script: `fastgen.serve(path, replicas=2, name="llama")`.

A supervisor in a session of its own runs replicas and a balancer, exactly as `fastgen up` would from a
manifest; `fastgen.client("llama")` attaches from any other script, `fastgen ps` and `fastgen down` see and end it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from fastgen.clients import Client, client
from fastgen.contract import FastGenDeployment
from fastgen.contract.engine_spec import EngineSpec
from fastgen.contract.labels import API_VERSION, KIND, MAX_NAME_LENGTH
from fastgen.contract.loading import parse_manifest
from fastgen.errors import FastGenError, UnknownOptionError, UsageError
from fastgen.local_state import check_name, forget, is_locked, read_record, state_root

LOG_LINES = 12


def serve(
    model: str | Path,
    *,
    replicas: int = 1,
    name: str | None = None,
    revision: str | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    grpc_port: int = 0,
    promise_tokens_per_second: int = 4,
    state_dir: str | Path | None = None,
    timeout_seconds: float | None = None,
    **engine: Any,
) -> Client:
    """Serve `model` on this machine until someone ends it; returns a client once every replica is ready.

    Args:
        model: a folder in Hugging Face format, or a hub id.
        replicas: engines behind the balancer; GPUs, memory and CPU threads are divided among them.
        name: what `fastgen.client` finds it by; without it, made from the model's name.
        host, port, grpc_port: where the balancer listens; port 0 takes a free one.
        promise_tokens_per_second: the generation rate that requests are judged by.
        state_dir: where state and logs go; without it $FASTGEN_STATE or ~/.local/state/fastgen.
        timeout_seconds: give up, and end everything again, after this long.
        engine: as for `fastgen.pipeline`: dtype=, token_budget=, block_tokens=, kv_bytes=, composition=, ...

    Raises UsageError for a name that runs already, FastGenError with the end of the log where it cannot start.
    """
    if importlib.util.find_spec("fastgen_server") is None:
        raise UsageError("fastgen.serve needs the server: pip install 'fastgen-serving[engine,server]'")
    name = default_name(str(model)) if name is None else check_name(name)
    sla = {"generationTokensPerSecond": promise_tokens_per_second}
    deployment = manifest_of(model, name=name, replicas=replicas, revision=revision, sla=sla, engine=engine)
    root = state_root(state_dir)
    folder = root / name
    if is_locked(folder):
        raise UsageError(
            f"'{name}' is running already: fastgen.client('{name}') attaches, `fastgen down {name}` ends it"
        )
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    asked = folder / "asked.yaml"
    asked.write_text(yaml.safe_dump(deployment.to_manifest(), sort_keys=False))
    options = ["--host", host, "--port", str(port), "--grpc-port", str(grpc_port), "--state-dir", str(root)]
    pid = _spawn(["up", str(asked), "--no-view", "--detached", *options], folder / "supervisor.log")
    try:
        _wait_until_ready(pid, folder, timeout_seconds)
    except BaseException:
        _end(pid)
        forget(folder)
        raise
    return client(name, state_dir=root)


def manifest_of(
    model: str | Path,
    *,
    name: str,
    replicas: int,
    revision: str | None,
    sla: dict[str, Any],
    engine: dict[str, Any],
) -> FastGenDeployment:
    """The manifest that `serve` runs. Raises UnknownOptionError, or UsageError with what is allowed."""
    known = set(EngineSpec.model_fields)
    for option in engine:
        if option not in known:
            raise UnknownOptionError(option, known, "fastgen.serve")
    values = {EngineSpec.model_fields[key].alias or key: value for key, value in engine.items()}
    if isinstance(values.get("memoryFraction"), float):
        values["memoryFraction"] = f"{values['memoryFraction']:.6g}"
    source: dict[str, Any] = {"source": _source_of(model), "revision": revision}
    spec = {"model": source, "replicas": replicas, "sla": sla, "engine": values}
    manifest = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec}
    return parse_manifest(manifest, "what fastgen.serve was called with")


def default_name(model: str) -> str:
    """A deployment's name from a model's: "meta-llama/Llama-2-7b" becomes "llama-2-7b"."""
    last = model.rstrip("/").rsplit("/", 1)[-1].lower()
    name = re.sub(r"[^a-z0-9]+", "-", last).strip("-")[:MAX_NAME_LENGTH].strip("-")
    return check_name(name if name[:1].isalpha() else f"model-{name}".strip("-")[:MAX_NAME_LENGTH])


def _source_of(model: str | Path) -> str:
    text = str(model)
    if "://" in text:
        return text
    if Path(text).expanduser().is_dir():
        return f"file://{Path(text).expanduser().resolve()}"
    if isinstance(model, Path) or text.startswith((".", "/", "~")) or not re.fullmatch(r"[\w.-]+/[\w.-]+", text):
        raise UsageError(f"there is no folder {text}, and it is no hub id such as ORGANISATION/MODEL")
    return f"hf://{text}"


def _spawn(words: list[str], log: Path) -> int:
    """Start `fastgen WORDS` in a session of its own, so that neither our end nor our Ctrl-C is its own."""
    log_flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "fastgen_server", *words],
        dict(os.environ),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), log_flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )


def _wait_until_ready(pid: int, folder: Path, timeout_seconds: float | None) -> None:
    deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    while True:
        if os.waitpid(pid, os.WNOHANG)[0]:
            raise FastGenError(f"'{folder.name}' could not be started:\n{_tail(folder / 'supervisor.log')}")
        record = read_record(folder)
        if record is not None and record.pid == pid and record.state == "ready":
            return
        if deadline is not None and time.monotonic() > deadline:
            raise FastGenError(
                f"'{folder.name}' was not ready after {timeout_seconds:g} s and is ended again; the end of its log:\n"
                f"{_tail(folder / 'supervisor.log')}"
            )
        time.sleep(0.1)


def _end(pid: int) -> None:
    """End a supervisor of ours that did not come up. Its children die with it."""
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _tail(log: Path) -> str:
    try:
        return "\n".join(log.read_text(errors="replace").strip().splitlines()[-LOG_LINES:])
    except FileNotFoundError:
        return ""
