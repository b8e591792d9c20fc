"""The page for people: plain HTML, CSS and JavaScript, read once and served from memory."""

import hashlib
from importlib import resources

from fastapi import APIRouter, Request, Response

_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


def routes() -> APIRouter:
    """The page at ``/``, and what belongs to it under ``/page/``."""
    router = APIRouter(include_in_schema=False)
    for file in resources.files(__name__).iterdir():
        suffix = file.name.rpartition(".")[2]
        if suffix in _TYPES:
            path = "/" if file.name == "index.html" else f"/page/{file.name}"
            _serve(router, path, file.read_bytes(), _TYPES[suffix])
    return router


def _serve(router: APIRouter, path: str, content: bytes, kind: str) -> None:
    tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}  # kept, and asked for whether it is new

    @router.api_route(path, methods=["GET", "HEAD"])
    async def file(request: Request) -> Response:
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=kind)
