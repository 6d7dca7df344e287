"""What the balancer itself answers when it cannot pass a request on, in OpenAI's shape."""

from __future__ import annotations

import json

from aiohttp import web


def error_body(message: str, code: str, kind: str = "server_error") -> str:
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}})


def error_response(status: int, message: str, code: str) -> web.Response:
    return web.Response(status=status, text=error_body(message, code), content_type="application/json")


def refusal(message: str, code: str, retry_after_seconds: int) -> web.Response:
    """503: not now, come again after `retry_after_seconds`."""
    response = error_response(503, message, code)
    response.headers["Retry-After"] = str(retry_after_seconds)
    return response


def too_large(most_bytes: int) -> web.Response:
    """413; the connection ends, for the rest of the body is not read."""
    message = f"the body is longer than {most_bytes} bytes (max_body_bytes)"
    text = error_body(message, "body_too_large", "invalid_request_error")
    response = web.Response(status=413, text=text, content_type="application/json")
    response.force_close()
    return response


CUT_EVENT = (
    "\n\nevent: error\ndata: "
    + error_body("the replica that was answering went away; the answer is incomplete", "replica_lost")
    + "\n\n"
).encode()
"""The end of an event stream whose replica is gone. It begins by ending whatever event was cut in two."""
