"""What a client is told when something is wrong: problem details (RFC 9457)."""

from __future__ import annotations

import json
import uuid
from http import HTTPStatus
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import Scope

from fungi_onnx.errors import ImageError, ImageTooLargeError

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = 1  # seconds; a full queue of 64 is worked off in less than one


class ProblemError(Exception):
    """Ends a request with problem details.

    ``code`` says to a program what ``detail`` says to a person. ``more`` are further members.
    """

    def __init__(
        self,
        status: HTTPStatus,
        code: str,
        detail: str,
        *,
        headers: dict[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers
        self.more = more


def documented(*statuses: int, schema: str = "Problem") -> dict[int | str, dict[str, Any]]:
    """Error responses, as the OpenAPI document shows them."""
    content = {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": content}
        for status in statuses
    }


def busy(detail: str, code: str = "Busy") -> ProblemError:
    """503 with Retry-After: the server is well, but cannot take this now."""
    headers = {"Retry-After": str(RETRY_AFTER)}
    return ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, code, detail, headers=headers)


def too_large(detail: str) -> ProblemError:
    """413: the request is beyond a limit."""
    return ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "TooLarge", detail)


def bad_request(detail: str) -> ProblemError:
    """400: the request is not what its headers or its form promise."""
    return ProblemError(HTTPStatus.BAD_REQUEST, "BadRequest", detail)


def of_picture(error: ImageError) -> ProblemError:
    """What is wrong with a picture: 413 beyond a limit, else 422.

    The error's advice is for whoever runs the server and is left out.
    """
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    if isinstance(error, ImageTooLargeError):
        status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    return ProblemError(status, type(error).__name__, f"The picture {error.reason}.")


def failure(scope: Scope) -> ProblemError:
    """500: what nobody foresaw; of a request always the same, to be found in the log."""
    return ProblemError(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "InternalServerError",
        "The server failed; its log says more under this instance.",
        instance=scope.setdefault("fungi_onnx.instance", f"urn:uuid:{uuid.uuid4()}"),
    )


def response(scope: Scope, problem: ProblemError) -> Response:
    """Problem details as a response.

    Under /v2 they also have ``error``, where Triton's and KServe's clients look for the text.
    """
    v2 = str(scope["path"]).startswith(f"{scope.get('root_path', '')}/v2")
    return Response(content(problem, v2=v2), problem.status, problem.headers, MEDIA_TYPE)


def content(problem: ProblemError, *, v2: bool = False) -> bytes:
    """Problem details as JSON."""
    members: dict[str, Any] = {
        "type": "about:blank",
        "title": problem.status.phrase,
        "status": int(problem.status),
        "detail": problem.detail,
        "code": problem.code,
        **problem.more,
    }
    if v2:
        members["error"] = problem.detail
    return json.dumps(members, ensure_ascii=False).encode()


async def on_problem(request: Request, error: Exception) -> Response:
    """Answers a `ProblemError`."""
    assert isinstance(error, ProblemError)
    return response(request.scope, error)


async def on_failure(request: Request, _: Exception) -> Response:
    """Answers what nobody foresaw; the gate logs it."""
    return response(request.scope, failure(request.scope))


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Answers what the framework itself refuses: an unknown path, a wrong method."""
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    detail = {
        HTTPStatus.NOT_FOUND: "There is nothing here; what there is says openapi.json.",
        HTTPStatus.METHOD_NOT_ALLOWED: f"{request.method} is not for this path.",
    }.get(status, str(error.detail))
    code = "".join(word.capitalize() for word in status.phrase.split())
    headers = dict(error.headers) if error.headers else None
    return response(request.scope, ProblemError(status, code, detail, headers=headers))


async def on_invalid(request: Request, error: Exception) -> Response:
    """Answers parameters of another type, range or name than there are."""
    assert isinstance(error, RequestValidationError)
    found = "; ".join(
        f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in error.errors()
    )
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    return response(request.scope, ProblemError(status, "InvalidParameter", f"{found}."))
