"""What containers run in tests of the process node: one small program, told by its arguments what to be.

report FILE...          print arguments, environment and the contents of files as one JSON line, and stay
serve HOST:PORT FILE     an HTTP server: 200 on every path, 503 while FILE exists
exit CODE [TEXT]        print TEXT, end
allocate MIB            take so much memory, and hold it
burn                    use all the CPU there is, and print the share of a core it got each half second
stubborn FILE           have a child of one's own, and end at no SIGTERM; FILE gets both pids
say FILE TEXT [LAST]    append TEXT to FILE; with LAST stay, and append that on SIGTERM
"""

from __future__ import annotations

import http.server
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def report(*files: str) -> None:
    contents = {file: Path(file).read_text() for file in files}
    print(json.dumps({"arguments": sys.argv[1:], "environment": dict(os.environ), "files": contents}), flush=True)
    signal.pause()


def serve(address: str, sick: str) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503 if Path(sick).exists() else 200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None: ...

    host, _, port = address.partition(":")
    http.server.ThreadingHTTPServer((host, int(port)), Handler).serve_forever()


def end(code: str, text: str = "") -> None:
    print(text, flush=True)
    sys.exit(int(code))


def allocate(mib: str) -> None:
    held = b"x" * (int(mib) << 20)
    time.sleep(600)
    del held


def burn() -> None:
    while True:
        began, used = time.monotonic(), time.process_time()
        while time.monotonic() - began < 0.5:
            pass
        print(f"{(time.process_time() - used) / (time.monotonic() - began):.3f}", flush=True)


def stubborn(file: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    beside = Path(f"{file}.new")
    beside.write_text(f"{os.getpid()} {child.pid}")
    beside.rename(file)
    time.sleep(600)


def say(file: str, text: str, last_words: str = "") -> None:
    """With `last_words`: stay, and say those on SIGTERM."""
    _append(file, text)
    if last_words:

        def leave(*_: object) -> None:
            _append(file, last_words)
            sys.exit(0)

        signal.signal(signal.SIGTERM, leave)
        while True:
            signal.pause()


def _append(file: str, text: str) -> None:
    with Path(file).open("a") as opened:
        opened.write(f"{text}\n")


COMMANDS: dict[str, Callable[..., object]] = {
    "report": report,
    "serve": serve,
    "exit": end,
    "allocate": allocate,
    "burn": burn,
    "stubborn": stubborn,
    "say": say,
}

if __name__ == "__main__":
    COMMANDS[sys.argv[1]](*sys.argv[2:])
