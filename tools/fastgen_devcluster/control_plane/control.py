"""Asking a running supervisor to stop, start or restart a component: one JSON line each way over a unix socket."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from fastgen.errors import FastGenError
from fastgen_devcluster.errors import DevClusterError
from fastgen_devcluster.state import ClusterFolder

Action = Literal["start", "stop", "restart"]
ANSWER_SECONDS = 150.0
"""An API server that has to wait for its port, and then to become ready, takes its time."""


class Request(NamedTuple):
    """What is asked."""

    action: Action
    component: str


@contextlib.contextmanager
def listen(folder: ClusterFolder) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener, _short_path(folder) as path:
        listener.bind(path)
        listener.listen()
        yield listener


def answer(listener: socket.socket, act: Callable[[Request], None]) -> None:
    """Take one request and answer it with "" or the message of the FastGenError or OSError that `act` raised."""
    connection, _ = listener.accept()
    with connection, connection.makefile("rw") as stream, contextlib.suppress(OSError, ValueError, TypeError):
        connection.settimeout(1.0)
        request = Request(**json.loads(stream.readline()))
        connection.settimeout(None)
        try:
            act(request)
            error = ""
        except (FastGenError, OSError) as failure:
            error = str(failure)
        print(json.dumps({"error": error}), file=stream, flush=True)


def ask(folder: ClusterFolder, action: Action, component: str) -> None:
    """Returns once it is done. Raises DevClusterError with the supervisor's reason."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, _short_path(folder) as path:
        connection.settimeout(ANSWER_SECONDS)
        try:
            connection.connect(path)
            with connection.makefile("rw") as stream:
                print(json.dumps(Request(action, component)._asdict()), file=stream, flush=True)
                line = stream.readline()
        except OSError as error:
            raise DevClusterError(
                f"the supervisor of cluster '{folder.path.name}' does not answer ({error}); is the cluster up? "
                "`devcluster status` says so"
            ) from error
    if not line:
        raise DevClusterError(f"the supervisor of cluster '{folder.path.name}' ended meanwhile")
    refusal = json.loads(line)["error"]
    if refusal:
        raise DevClusterError(refusal)


@contextlib.contextmanager
def _short_path(folder: ClusterFolder) -> Iterator[str]:
    """The socket's path by way of a descriptor: sockets take 107 characters, folders of tests have more."""
    handle = os.open(folder.path, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{handle}/{folder.control_socket.name}"
    finally:
        os.close(handle)
