"""Every error as OpenAI shapes it: {"error": {message, type, param, code}}."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

from fastgen.errors import OverloadedError, RequestError

log = logging.getLogger("fastgen.server")

_TYPES = {400: "invalid_request_error", 404: "not_found_error", 503: "service_unavailable_error"}


def error_json(error: RequestError) -> dict[str, Any]:
    kind = _TYPES.get(error.http_status, "invalid_request_error" if error.http_status < 500 else "server_error")
    return {"error": {"message": error.message, "type": kind, "param": error.param, "code": error.code}}


def error_response(error: RequestError) -> web.Response:
    headers = {}
    if error.http_status == 503:
        headers["Retry-After"] = str(error.retry_after_seconds if isinstance(error, OverloadedError) else 1)
    return web.Response(
        body=msgspec.json.encode(error_json(error)),
        status=error.http_status,
        content_type="application/json",
        headers=headers,
    )


@web.middleware
async def errors_middleware(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """What handlers raise, as responses. A bug is a 500 whose details stay in the log."""
    try:
        return await handler(request)
    except RequestError as error:
        return error_response(error)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return error_response(_from_http(request, error))
    except ConnectionError:
        raise  # the client is gone; there is nobody to answer
    except Exception:
        log.exception("%s %s failed: this is a bug", request.method, request.path)
        return error_response(RequestError("something went wrong inside the server; its log says what"))


def _from_http(request: web.Request, error: web.HTTPException) -> RequestError:
    what = {
        404: f"there is no {request.path[:128]} here; GET /v1/models, POST /v1/completions or /v1/chat/completions",
        405: f"{request.path[:128]} does not take {request.method[:16]}",
        413: f"the body is larger than the {request.client_max_size} bytes allowed (max_body_bytes)",
    }
    found = RequestError(what.get(error.status, error.reason))
    # On the instance: aiohttp's own refusals have statuses that no RequestError of ours names.
    found.http_status = error.status
    found.code = {404: "not_found", 405: "method_not_allowed", 413: "request_too_large"}.get(error.status, "http_error")
    return found
